"""What people are shown: nothing in a trace can act in a browser or drive a terminal."""

import io
import json
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episode_cases import SEGMENT, ZOOM, build_colour_study, play, write_call
from ophiscope.apps import terminal
from ophiscope.apps.report import render_report
from ophiscope.core.case import Case
from ophiscope.ledger.read import Trace
from ophiscope.ledger.verify import Verdict

HOLDS = Verdict(True, True, False, 9, "ab" * 32, "cd" * 32, ())
PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% for x in y %}",
    "<a href='http://evil.example'>x</a>",
    "<!-- --><iframe src=http://evil.example>",
    "&lt;script&gt;",
    "[E1](javascript:alert(1))",
    "]]><script>1</script>",
    "\x1b[31mred\x07\u202eevil",
)


class Page(HTMLParser):
    """Counts what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attrs:
            links = name in {"src", "href", "action", "data"} and not (value or "").startswith(("#", "data:image/png;"))
            if name.startswith("on") or links:
                self.bad.append(f"{tag} {name}={value}")


def read_page(trace: Trace, verdict: Verdict = HOLDS) -> Page:
    page = Page()
    page.feed(render_report(trace, verdict))
    return page


@pytest.fixture(scope="module")
def plain_tags() -> dict[str, int]:
    """What an honest page of the same form holds."""
    return read_page(_record("plain")).tags


def _record(text: str) -> Trace:
    case = Case((build_colour_study(),), f"Is {text} here?", (text, f"{text} not"))
    replies = [
        write_call("zoom_in", text.replace("</think>", ""), view=1, box=[0, 0, 300, 300]),
        write_call("segment_text", view=1, target=f"square {text}"),
        SEGMENT,
        f"{text} is neither",
        f"<answer>{text.replace('<answer>', '')} [E1]</answer>",
    ]
    return play(replies, case).trace


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_text_of_a_trace_becomes_markup(payload: str, plain_tags: dict[str, int]) -> None:
    page = read_page(_record(payload))
    assert page.bad == []
    assert {"script", "iframe", "object", "link", "base", "form"} & set(page.tags) == set()
    # the grammar may read a reply otherwise, so thoughts and pictures may be fewer; nothing new may appear
    assert set(page.tags) <= set(plain_tags)


def test_no_text_of_a_trace_steers_what_shows_the_page() -> None:
    unsafe = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"]
    unsafe += [*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff"]
    text = render_report(_record(f"<b>x</b> {''.join(unsafe)}[2J\tthen\nlast"), HOLDS)
    assert [letter for letter in text if letter in unsafe] == []
    # what was there is seen to have been there; lines, tabs and the words stay, and are escaped once
    assert f"Is &lt;b&gt;x&lt;/b&gt; {'?' * len(unsafe)}[2J\tthen\nlast here?" in text
    assert "&amp;lt;" not in text


def test_a_page_says_when_its_trace_does_not_hold() -> None:
    from ophiscope.ledger.chain import Problem

    broken = Verdict(False, False, True, 3, "ab" * 32, "cd" * 32, (Problem("event 2", "was <b>changed</b>"),))
    text = render_report(_record("plain"), broken)
    assert "NOT intact" in text
    assert "event 2: was &lt;b&gt;changed&lt;/b&gt;" in text


def test_a_page_of_a_killed_episode_and_of_missing_pictures_can_be_read() -> None:
    trace = play([ZOOM, "<answer>yes [E1]</answer>"]).trace
    for count in range(1, len(trace.events)):
        cut = Trace(trace.manifest, trace.events[:count], trace.times[:count], {}, False, False)
        assert "not for diagnosis" in render_report(cut, HOLDS)


def test_regions_stand_where_they_were_found() -> None:
    text = render_report(play([ZOOM, "<answer>yes [E1]</answer>"]).trace, HOLDS)
    assert '<rect class="region" x="160.0" y="76.0' in text
    assert '<a class="cite" href="#E1">[E1]</a>' in text


@given(st.text())
def test_a_terminal_is_only_shown_printable_lines(text: str) -> None:
    shown = terminal.render_plain(text)
    assert all(letter == " " or letter.isprintable() for letter in shown)
    assert "\n" not in shown
    assert terminal.render_plain(shown) == shown


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none()))
def test_one_json_object_is_one_ascii_line(value: dict[str, object]) -> None:
    held, kept = io.StringIO(), sys.stdout
    sys.stdout = held
    try:
        terminal.print_json(value)
    finally:
        sys.stdout = kept
    assert held.getvalue().isascii()
    assert held.getvalue().count("\n") == 1
    assert json.loads(held.getvalue()) == value
