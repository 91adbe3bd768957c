"""What the words of ``<answer>`` mean.

Citations are ``[E1]`` or ``[E1, E2]``, anywhere. What is left without them is read by the first rule that fits the
whole of it (letter case and a final full stop do not matter, except for option letters):

====================================================  =========================================================
words                                                 kind
====================================================  =========================================================
with options
  the text of exactly one option                      option
  ``B``  ``(B)``  ``B.``  ``B)``                      option, by its capital letter alone
  ``B. text`` ``B: text`` ``B) text`` ``(B) text``    option, if letter and text agree
with or without options
  ``cannot tell`` (and a reason), ``insufficient``    insufficient
without options
  ``yes``, ``no``; or one of them and ``, . ; :``     yes_no
  ``3``, ``count 3``                                  count
  ``mask [E1]``, ``mask E1``                          mask: that evidence's
  ``box [E1]``, ``box E1``                            box: that evidence's
  ``interval [E1]``, ``time [E1]``                    interval or time: that evidence's
  ``box [10, 20, 30, 40]``, ``... in view 2``         box, in the model's numbers, of view 1 unless it says another
  ``point [10, 20]``, ``... in view 2``               point, likewise
  ``time 12.5 s``, ``position -3.5 mm``               time
  ``interval 3.0-7.5 s``, ``interval 3 to 7 mm``      interval
  one or more lines ``3.0-7.5 s: words``              description
anything else                                         text
====================================================  =========================================================

``[E1]`` alone, and ``mask`` alone, are text without words here; what they point to is a matter of what the evidence
holds (:mod:`ophiscope.agent.answering`). Nothing is guessed: "a lesion" is not option A, "kidney cyst" is not K,
digits other than 0-9 are no number, "yes, no" is neither, and a reversed box is text (which the loop refuses).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ophiscope.core.result import ResultKind

__all__ = ["ParsedAnswer", "parse_answer"]

_SHORT_CHARS = 400
"""No count, place, time or interval is longer."""
_MARKS = ("", ".", ",", ";", ":")

_FLAGS = re.ASCII | re.IGNORECASE
_ID = r"E[1-9][0-9]{0,5}"
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_POSITIVE = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_VIEW = r"(?: in view ([1-9][0-9]{0,5}))?"

_ONE_ID = re.compile(_ID, re.ASCII)
_CITATION = re.compile(rf"(\[\s*{_ID}(?:\s*,\s*{_ID})*\s*\])", re.ASCII)
_LETTER = re.compile(r"\(?([A-Z])\)?\.?")
_LETTER_AND_TEXT = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):]) ?(.+)", re.DOTALL)
_INSUFFICIENT = re.compile(r"(?:cannot tell\b|insufficient(?=[.,;:]|$))[ .,;:-]*(.*)", _FLAGS | re.DOTALL)
_YES_NO = re.compile(r"(yes|no)(?:$|[,;:]|\.(?! ?[0-9]))(?![ ,;:.]*(?:yes|no)\b)", _FLAGS)
_COUNT = re.compile(r"(?:count )?(0|[1-9][0-9]{0,5})", _FLAGS)
_OF_EVIDENCE = re.compile(rf"(mask|box|interval|time)(?: ({_ID}))?", _FLAGS)
_PLACE = re.compile(rf"(box|point) ?\[ ?({_NUMBER}(?: ?, ?{_NUMBER}){{1,3}}) ?\]{_VIEW}", _FLAGS)
_AXIS = re.compile(rf"(?:time ({_POSITIVE}) ?s|position ({_NUMBER}) ?mm)", _FLAGS)
_INTERVAL = re.compile(
    rf"interval (?:({_POSITIVE}) ?(?:-|–|to) ?({_POSITIVE}) ?s|({_NUMBER}) ?(?:-|–|to) ?({_NUMBER}) ?mm)",
    _FLAGS,
)
_EVENT = re.compile(rf"({_POSITIVE}) ?(?:-|–|to) ?({_POSITIVE}) ?s ?: ?(\S.*)")


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """An answer as written; only the fields of its kind are set. Places are still in the model's numbers."""

    kind: ResultKind
    plain: str
    """The words without citations."""
    citations: tuple[str, ...] = ()
    """Evidence ids, each once, in the order in which they stand; whether they exist is not checked here."""
    option: str | None = None
    """The chosen option's text, as the case has it."""
    yes: bool | None = None
    count: int | None = None
    evidence: str | None = None
    """The evidence whose mask or box is the answer; also among the citations."""
    numbers: tuple[float, ...] | None = None
    """Four of a box or two of a point, in the order of the model's profile."""
    view: int | None = None
    """The view that ``numbers`` refer to."""
    time_s: float | None = None
    position_mm: float | None = None
    interval_s: tuple[float, float] | None = None
    interval_mm: tuple[float, float] | None = None
    events: tuple[tuple[float, float, str], ...] | None = None
    """Start and end in seconds, and what happened; sorted by time."""
    why: str | None = None
    """The reason given with ``cannot tell``; empty where none was."""


def parse_answer(text: str, options: Sequence[str] = ()) -> ParsedAnswer:
    """The meaning of ``text`` by the rules above; never raises.

    Args:
        text: What stood between ``<answer>`` and ``</answer>``.
        options: The case's options, in the order in which they were shown (A, B, ...); empty for an open question.
    """
    pieces = _CITATION.split(text)
    citations = tuple(dict.fromkeys(_ONE_ID.findall("".join(pieces[1::2]))))
    plain = _join(pieces[::2])
    blank = ParsedAnswer(ResultKind.TEXT, plain, citations)
    if options:
        return _read_option(blank, options) or _read_insufficient(blank) or blank
    found = _read_insufficient(blank) or _read_yes_no(blank)
    if found is None and len(plain) <= _SHORT_CHARS:
        found = _read_short(blank, plain.removesuffix("."))
    return found or _read_description(blank) or blank


def _join(pieces: Sequence[str]) -> str:
    """The words between citations, white space collapsed, lines kept; no space comes to stand before a mark."""
    stripped = [pieces[0].strip(" \t"), *filter(None, (piece.strip(" \t") for piece in pieces[1:]))]
    joined = stripped[0] + "".join(piece if piece[:1] in _MARKS else f" {piece}" for piece in stripped[1:])
    lines = (" ".join(line.split()) for line in joined.splitlines())
    return "\n".join(line for line in lines if line)


def _read_short(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    for read in (_read_count, _read_evidence, _read_place, _read_axis, _read_interval):
        found = read(blank, short)
        if found is not None:
            return found
    return None


def _read_option(blank: ParsedAnswer, options: Sequence[str]) -> ParsedAnswer | None:
    said = _normal(blank.plain)
    equal = [option for option in options if _normal(option) == said]
    if len(equal) == 1:  # before the letter: an option may itself be called "B"
        return replace(blank, kind=ResultKind.OPTION, option=equal[0])
    letter, both = _LETTER.fullmatch(blank.plain), _LETTER_AND_TEXT.fullmatch(blank.plain)
    if letter is not None:
        index = ord(letter.group(1)) - ord("A")
        return replace(blank, kind=ResultKind.OPTION, option=options[index]) if index < len(options) else None
    if both is not None:
        index = ord(both.group(1) or both.group(2)) - ord("A")
        if index < len(options) and _normal(options[index]) == _normal(both.group(3)):
            return replace(blank, kind=ResultKind.OPTION, option=options[index])
    return None


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold().removesuffix(".").strip()


def _read_insufficient(blank: ParsedAnswer) -> ParsedAnswer | None:
    found = _INSUFFICIENT.fullmatch(blank.plain)
    return replace(blank, kind=ResultKind.INSUFFICIENT, why=found.group(1).strip()) if found else None


def _read_yes_no(blank: ParsedAnswer) -> ParsedAnswer | None:
    found = _YES_NO.match(blank.plain)
    return replace(blank, kind=ResultKind.YES_NO, yes=found.group(1).casefold() == "yes") if found else None


def _read_count(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    found = _COUNT.fullmatch(short)
    return replace(blank, kind=ResultKind.COUNT, count=int(found.group(1))) if found else None


def _read_evidence(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    """``mask [E1]`` and ``mask E1``: exactly one evidence, named once either way."""
    found = _OF_EVIDENCE.fullmatch(short)
    if found is None:
        return None
    named = tuple(dict.fromkeys([*([found.group(2)] if found.group(2) else []), *blank.citations]))
    if len(named) != 1:
        return None
    kind = ResultKind(found.group(1).casefold())
    return replace(blank, kind=kind, evidence=named[0], citations=named)


def _read_place(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    found = _PLACE.fullmatch(short)
    if found is None:
        return None
    numbers = tuple(float(number) for number in found.group(2).split(","))
    view = int(found.group(3) or 1)
    if found.group(1).casefold() == "point":
        return replace(blank, kind=ResultKind.POINT, numbers=numbers, view=view) if len(numbers) == 2 else None
    if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        return None
    return replace(blank, kind=ResultKind.BOX, numbers=numbers, view=view)


def _read_axis(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    found = _AXIS.fullmatch(short)
    if found is None:
        return None
    time_s, position_mm = found.groups()
    if time_s is not None:
        return replace(blank, kind=ResultKind.TIME, time_s=float(time_s))
    return replace(blank, kind=ResultKind.TIME, position_mm=float(position_mm))


def _read_interval(blank: ParsedAnswer, short: str) -> ParsedAnswer | None:
    found = _INTERVAL.fullmatch(short)
    if found is None:
        return None
    bounds = [float(number) for number in found.groups() if number is not None]
    if bounds[0] >= bounds[1]:
        return None
    span = (bounds[0], bounds[1])
    if found.group(1) is not None:
        return replace(blank, kind=ResultKind.INTERVAL, interval_s=span)
    return replace(blank, kind=ResultKind.INTERVAL, interval_mm=span)


def _read_description(blank: ParsedAnswer) -> ParsedAnswer | None:
    matches = [_EVENT.fullmatch(line) for line in blank.plain.split("\n")]
    events = [(float(m.group(1)), float(m.group(2)), m.group(3)) for m in matches if m is not None]
    if len(events) != len(matches) or not all(start < end < math.inf for start, end, _ in events):
        return None
    return replace(blank, kind=ResultKind.DESCRIPTION, events=tuple(sorted(events)))
