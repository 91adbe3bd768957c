"""``verify`` and ``read_trace`` on folders of somebody else: a verdict or one line, no crash, nothing followed."""

import os
import random
import resource
from hashlib import sha256
from pathlib import Path

import pytest

from ledger_cases import build_clock, build_manifest, build_png, play_opening, play_small, play_turn
from ophiscope.core.trace import SCHEMA_VERSION
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.ledger import line as line_module
from ophiscope.ledger import read as read_module
from ophiscope.ledger.line import LINE
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.sink import FileSink
from ophiscope.ledger.verify import verify


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    play_small(FileSink(folder, build_manifest(), build_clock()))
    return folder


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A trace whose writer was stopped."""
    folder = tmp_path / "k"
    with FileSink(folder, build_manifest(), build_clock()) as sink:
        play_opening(sink)
        play_turn(sink, 1)
    return folder


def places(folder: Path) -> list[str]:
    return [problem.where for problem in verify(folder).problems]


@pytest.mark.parametrize("make", ["missing", "empty", "file", "strangers", "only_events_file"])
def test_what_is_not_a_trace_is_said_so(make: str, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    if make != "missing":
        folder.mkdir() if make != "file" else folder.write_text("x")
    if make == "strangers":
        (folder / "notes.txt").write_text("x")
    if make == "only_events_file":
        (folder / "trace.jsonl").touch()
    for read in (verify, read_trace):
        with pytest.raises(WrongInput, match="is not a trace") as refusal:
            read(folder)
        assert refusal.value.exit_code == 2
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["manifest.json", "trace.jsonl", "media"])
def test_links_are_not_followed(name: str, trace: Path, tmp_path: Path) -> None:
    (trace / name).rename(tmp_path / "elsewhere")
    (trace / name).symlink_to(tmp_path / "elsewhere")
    assert name in places(trace)


def test_odd_things_in_the_media_folder_are_refused(trace: Path, tmp_path: Path) -> None:
    content = b"outside"
    (tmp_path / "secret").write_bytes(content)
    first = sorted((trace / "media").iterdir())[0]
    content = first.read_bytes()
    (tmp_path / "same").write_bytes(content)
    first.unlink()
    first.symlink_to(tmp_path / "same")
    assert places(trace) == [f"media/{first.name}"]
    first.unlink()
    first.mkdir()
    assert places(trace) == [f"media/{first.name}"]
    first.rmdir()
    os.mkfifo(first)
    assert places(trace) == [f"media/{first.name}"]
    first.unlink()
    first.write_bytes(content)
    assert places(trace) == []
    os.link(tmp_path / "secret", trace / "media" / f"{sha256(b'outside').hexdigest()}.png")
    assert len(places(trace)) == 1


def test_names_that_are_no_text_are_reported(trace: Path) -> None:
    with open(os.fsencode(trace) + b"/media/\xff\xfe\n", "wb"):
        pass
    (trace / "new\nline").touch()
    assert all(where.isprintable() and where.isascii() for where in places(trace))
    assert len(places(trace)) == 2


def test_garbage_never_crashes(trace: Path) -> None:
    rng = random.Random(3)
    honest = (trace / "trace.jsonl").read_bytes()
    lines = honest.splitlines(keepends=True)
    prev, seq, at, _ = LINE.fullmatch(lines[0]).groups()
    for payload in (
        b"[" * 5000 + b"{}",
        b'{"event":"opened"}',
        b'{"event":"closed","payload_head":1}',
        b'{"event":["closed"]}',
        b'{"event":"closed","events":' + b"9" * 6000 + b"}",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"{\xff}",
        b'{"event":"' + b"\\ud800" + b'"}',
        b"{" * 20_000 + b"}" * 20_000,
    ):
        bad = b'{"prev":"%b","seq":%b,"at":"%b","payload":%b}\n' % (prev, seq, at, payload)
        (trace / "trace.jsonl").write_bytes(bad)
        assert not verify(trace).intact
        with pytest.raises(CheckFailed):
            read_trace(trace)
    for _ in range(60):
        (trace / "trace.jsonl").write_bytes(rng.choice([b"", honest]) + rng.randbytes(rng.randrange(1, 4000)) + b"\n")
        assert not verify(trace).intact
    for content in (b"\n", b"\n" * 1000, b"\x00" * 1000 + b"\n"):
        (trace / "trace.jsonl").write_bytes(content)
        assert 1 <= len(places(trace)) <= 2 * 100 + 10


def test_lines_are_read_within_bounds(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than any writer makes is refused without being held in memory, torn or not."""
    monkeypatch.setattr(read_module, "MAX_LINE_BYTES", 2**16)
    with open(killed / "trace.jsonl", "r+b") as file:
        file.truncate(2**29)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "longer than any line" in verify(killed).problems[0].what
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert read_module.MAX_LINE_BYTES < line_module.MAX_LINE_BYTES


def test_a_manifest_is_read_within_bounds(trace: Path) -> None:
    with open(trace / "manifest.json", "ab") as file:
        file.truncate(2**31)
    problem = verify(trace).problems[0]
    assert (problem.where, "longer" in problem.what) == ("manifest.json", True)


@pytest.mark.parametrize("tail", [b'{"prev"', b"\x00\x00\x00", b"{", b'{"prev":"\xc3'])
def test_a_torn_tail_is_said_and_ignored(tail: bytes, killed: Path) -> None:
    events = verify(killed).events
    with open(killed / "trace.jsonl", "ab") as file:
        file.write(tail)
    verdict = verify(killed)
    assert (verdict.intact, verdict.complete, verdict.torn_tail, verdict.events) == (True, False, True, events)
    trace = read_trace(killed)
    assert trace.torn_tail
    assert len(trace.events) == events


def test_bad_bytes_before_a_torn_tail_are_not_ignored(killed: Path) -> None:
    content = (killed / "trace.jsonl").read_bytes()
    (killed / "trace.jsonl").write_bytes(content + b"junk\n" + b'{"prev"')
    verdict = verify(killed)
    assert not verdict.intact
    assert verdict.problems[0].where == f"event {content.count(10)}"


def test_bytes_after_closed_are_not_a_torn_tail(trace: Path) -> None:
    with open(trace / "trace.jsonl", "ab") as file:
        file.write(b'{"prev"')
    assert places(trace) == ["event 10"]


def test_what_a_killed_writer_leaves_is_named(killed: Path) -> None:
    digest = sha256(build_png(77)).hexdigest()
    (killed / "media" / f"{digest}.png").write_bytes(build_png(77))
    (killed / "media" / f".partial-{'0' * 64}.png").write_bytes(b"half")
    verdict = verify(killed)
    assert verdict.intact
    assert verdict.leftovers == (f".partial-{'0' * 64}.png", f"{digest}.png")
    (killed / "media" / f"{digest}.png").write_bytes(build_png(78))
    assert places(killed) == [f"media/{digest}.png"]
    (killed / "media" / f"{digest}.png").unlink()
    (killed / "media" / "note.txt").write_bytes(b"x")
    assert places(killed) == ["media/note.txt"]


def test_no_content_is_there_twice_in_a_trace_that_was_not_closed(killed: Path) -> None:
    first = next((killed / "media").glob("*.png"))
    (killed / "media" / f"{first.stem}.txt").write_bytes(first.read_bytes())
    verdict = verify(killed)
    assert not verdict.intact
    assert "second file" in verdict.problems[0].what


def test_a_later_format_is_named(trace: Path) -> None:
    """Intact, but not for this version: exit 2. Changed to look like it: exit 1."""
    later = (trace / "manifest.json").read_bytes().replace(b'"schema_version": 1', b'"schema_version": 9')
    (trace / "manifest.json").write_bytes(later)
    assert places(trace)[0] == "manifest.json"
    with pytest.raises(WrongInput, match=f"format 9; this version of ophiscope reads formats 1 to {SCHEMA_VERSION}"):
        read_trace(trace)
    lines = (trace / "trace.jsonl").read_bytes().splitlines(keepends=True)
    named = lines[0].split(b'"manifest_sha256":"')[1][:64]
    (trace / "trace.jsonl").write_bytes(lines[0].replace(named, sha256(later).hexdigest().encode()))
    with pytest.raises(WrongInput, match="format 9"):
        verify(trace)


def test_reading_refuses_damage(trace: Path) -> None:
    first = sorted((trace / "media").iterdir())[0]
    first.write_bytes(b"other")
    with pytest.raises(CheckFailed, match="not what its name says"):
        read_trace(trace).media[first.stem]
    first.unlink()
    first.symlink_to("/etc/hostname")
    with pytest.raises(CheckFailed, match="cannot be read"):
        read_trace(trace).media[first.stem]
    content = (trace / "trace.jsonl").read_bytes()
    (trace / "trace.jsonl").write_bytes(content.replace(b'"event":"call"', b'"event":"kall"'))
    with pytest.raises(CheckFailed, match=r"Event 3 of .* is damaged"):
        read_trace(trace)
    (trace / "trace.jsonl").unlink()
    with pytest.raises(CheckFailed, match="cannot be read"):
        read_trace(trace)
    (trace / "manifest.json").write_bytes(b"[]")
    with pytest.raises(CheckFailed, match=r"cannot be read|damaged"):
        read_trace(trace)


def test_an_empty_trace_has_no_opened_event(tmp_path: Path) -> None:
    FileSink(tmp_path / "t", build_manifest(), build_clock()).release()
    with pytest.raises(CheckFailed, match="no 'opened' event"):
        _ = read_trace(tmp_path / "t").opened
