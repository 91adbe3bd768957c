"""The writer: order, exclusive folder, one file per content, and every way in which a disk or a person can stop it."""

import errno
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from ledger_cases import (
    build_clock,
    build_manifest,
    build_note,
    build_png,
    play_ending,
    play_episode,
    play_measure,
    play_opening,
    play_turn,
)
from ophiscope.core.trace import ClosedEvent, StopReason
from ophiscope.errors import DiskFailed, FolderInUse, WrongInput
from ophiscope.ledger import disk
from ophiscope.ledger.line import GENESIS
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.sink import FileSink, MemorySink
from ophiscope.ledger.verify import verify


def open_sink(folder: Path) -> FileSink:
    return FileSink(folder, build_manifest(), build_clock())


class SpoiltOs:
    """The os module, but the ``fatal``-th call that changes something goes wrong, and with it all later writes."""

    CHANGES = ("write", "fsync", "rename", "open", "mkdir")

    def __init__(self, fatal: int, spoil: Callable[[str], BaseException], *, after: bool = False, once: bool = False):
        self._fatal, self._spoil, self._after, self._once = fatal, spoil, after, once
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        return self._wrap(name, real) if name in self.CHANGES else real

    def _wrap(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            self.calls.append(name)
            index = len(self.calls) - 1
            if index < self._fatal or (self._once and index > self._fatal):
                return real(*args, **options)
            if name == "write" and index == self._fatal:
                # A disk that fills up takes part of a write before it refuses the rest.
                written = real(args[0], bytes(args[1])[: len(args[1]) if self._after else len(args[1]) // 2])
                if not self._after:
                    return written
            elif self._after:
                real(*args, **options)
            raise self._spoil(name)

        return call


def no_space(_: str) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def count_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    counting = SpoiltOs(10**9, no_space)
    monkeypatch.setattr(disk, "os", counting)
    play_episode(open_sink(folder), turns=2)
    monkeypatch.setattr(disk, "os", os)
    return len(counting.calls)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_at_every_site_leaves_a_trace_that_verifies(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = count_changes(tmp_path / "all", monkeypatch)
    assert sites > 40
    whole = read_trace(tmp_path / "all").events
    for fatal in range(sites):
        folder = tmp_path / f"{code}-{fatal}"
        monkeypatch.setattr(disk, "os", SpoiltOs(fatal, lambda _: OSError(code, os.strerror(code))))
        with pytest.raises(DiskFailed, match=errno.errorcode[code]) as failure:
            play_episode(open_sink(folder), turns=2)
        monkeypatch.setattr(disk, "os", os)
        assert failure.value.exit_code == 74
        assert "\n" not in str(failure.value)
        if not (folder / "manifest.json").exists():
            play_episode(open_sink(folder), turns=2)  # what had failed to start can be started again
            assert verify(folder).complete
            continue
        verdict = verify(folder)
        assert verdict.problems == (), fatal
        trace = read_trace(folder)
        assert trace.events == whole[: len(trace.events)]
        assert not [name for name in verdict.leftovers if name.startswith(disk.PARTIAL)]


def test_after_a_failure_nothing_more_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = open_sink(tmp_path / "t")
    play_opening(sink)
    monkeypatch.setattr(disk, "os", SpoiltOs(0, no_space))
    with pytest.raises(DiskFailed):
        sink.append(build_note("one"))
    monkeypatch.setattr(disk, "os", os)
    size = (tmp_path / "t" / "trace.jsonl").stat().st_size
    for attempt in (lambda: sink.append(build_note("two")), sink.sync, lambda: sink.close(StopReason.DISK_FAILED)):
        with pytest.raises(DiskFailed, match="ENOSPC"):
            attempt()
    assert (tmp_path / "t" / "trace.jsonl").stat().st_size == size
    assert verify(tmp_path / "t").torn_tail


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_anywhere_can_still_be_closed(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C before or just after any call of the disk: the trace is then closed and verifies."""
    sites = count_changes(tmp_path / "all", monkeypatch)
    for fatal in range(sites):
        folder = tmp_path / f"t{fatal}"
        interrupted = SpoiltOs(fatal, lambda _: KeyboardInterrupt(), after=after, once=True)
        monkeypatch.setattr(disk, "os", interrupted)
        sink = None
        try:
            sink = open_sink(folder)
            play_episode(sink, turns=2)
        except KeyboardInterrupt:
            if sink is None:
                continue
            sink.close(StopReason.CANCELLED)
        verdict = verify(folder)
        assert verdict.problems == (), (fatal, interrupted.calls[fatal])
        assert verdict.complete is (verdict.events > 0)
        assert not verdict.torn_tail


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t")
    with pytest.raises(FolderInUse, match="Another process") as refusal:
        open_sink(tmp_path / "t")
    assert refusal.value.exit_code == 75
    play_episode(sink)
    with pytest.raises(WrongInput, match="not empty"):
        open_sink(tmp_path / "t")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["manifest.json", "media", "trace.jsonl"]


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(WrongInput, match=r"holds mine\.txt"):
        open_sink(tmp_path)
    with pytest.raises(WrongInput, match="is a file"):
        open_sink(tmp_path / "mine.txt")
    with pytest.raises(WrongInput, match="is a file"):
        open_sink(tmp_path / "mine.txt" / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_is_free_again_after_a_release(tmp_path: Path) -> None:
    with open_sink(tmp_path / "t") as sink:
        play_opening(sink)
    sink.release()
    with pytest.raises(WrongInput, match="not empty"):
        open_sink(tmp_path / "t")
    with pytest.raises(ValueError, match="closed"):
        sink.append(build_note("late"))


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for index in range(3):
        play_episode(open_sink(tmp_path / f"t{index}"))
        verify(tmp_path / f"t{index}")
        read_trace(tmp_path / f"t{index}").view_png(1)
        with pytest.raises(WrongInput):
            open_sink(tmp_path / "t0")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("memory", [False, True])
def test_order_is_kept(memory: bool, tmp_path: Path) -> None:
    manifest, clock = build_manifest(), build_clock()
    sink = MemorySink(manifest, clock) if memory else FileSink(tmp_path / "t", manifest, clock)
    with pytest.raises(ValueError, match="'opened' is the first event"):
        sink.append(build_note("early"))
    play_opening(sink)
    with pytest.raises(ValueError, match="only the first"):
        play_opening(sink)
    closed = ClosedEvent(
        stop=StopReason.ANSWERED, events=2, turns=0, attempted_calls=0, valid_calls=0, media=(), payload_head=GENESIS
    )
    with pytest.raises(ValueError, match=r"close\(\)"):
        sink.append(closed)
    with pytest.raises(ValueError, match="ending 'p/g'"):
        sink.add_media(b"x", "p/g")
    sink.close(StopReason.MAX_TURNS)
    sink.close(StopReason.ANSWERED)
    with pytest.raises(ValueError, match="closed"):
        sink.append(build_note("late"))
    trace = sink.trace if isinstance(sink, MemorySink) else read_trace(tmp_path / "t")
    assert trace.closed is not None
    assert trace.closed.stop is StopReason.MAX_TURNS


def test_event_0_names_this_manifest(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t")
    other = MemorySink(build_manifest(seed=1), build_clock())
    play_opening(other)
    with pytest.raises(ValueError, match="names manifest"):
        sink.append(other.trace.opened)


def test_closing_before_the_first_event_leaves_an_empty_trace(tmp_path: Path) -> None:
    open_sink(tmp_path / "t").close(StopReason.CANCELLED)
    verdict = verify(tmp_path / "t")
    assert (verdict.intact, verdict.complete, verdict.events) == (True, False, 0)


def test_media_are_kept_once(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t")
    play_opening(sink)
    first = sink.add_media(build_png(9), "png")
    assert sink.add_media(build_png(9), "png") == first
    assert sink.add_media(build_png(9), "bin") == first
    sink.close(StopReason.CANCELLED)
    closed = read_trace(tmp_path / "t").closed
    assert closed is not None
    assert sorted(os.listdir(tmp_path / "t" / "media")) == list(closed.media)
    assert closed.media.count(f"{first}.png") == 1


def test_each_event_is_on_disk_before_append_returns(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "t")
    play_opening(sink)
    for index in range(5):
        sink.append(build_note(str(index)))
        assert len(read_trace(tmp_path / "t").events) == 3 + index
    assert not read_trace(tmp_path / "t").complete


def test_a_clock_without_zone_is_refused(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "t", build_manifest(), lambda: datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="zone"):
        play_opening(sink)


def test_a_trace_gives_what_replay_needs(tmp_path: Path) -> None:
    sink = MemorySink(build_manifest(), build_clock())
    play_opening(sink)
    play_turn(sink, 1)
    play_measure(sink, 2, sink.trace.evidence["E1"])
    sink.append(build_note("half-way"))
    play_ending(sink, 3, cited=("E1",))
    sink.save(tmp_path / "t")
    for trace in (sink.trace, read_trace(tmp_path / "t")):
        assert trace.opened.question.startswith("Is there")
        assert trace.root_png("S1") == trace.view_png(1) == build_png(0)
        assert trace.root_png("S2") is None
        assert trace.view_png(2) == build_png(1001)
        assert trace.mask_png("E1") == build_png(500_000 + 1000)
        assert [call.call.name for call in trace.calls] == ["segment_box", "measure"]
        assert [view.view for view in trace.calls[0].views] == [2]
        assert trace.calls[0].outcome is not None
        assert trace.evidence["E1"].measurement is not None
        assert trace.answer is not None
        assert len(trace.replies) == 3
    assert verify(tmp_path / "t").problems == ()
