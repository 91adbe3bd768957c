"""Hostile files of every family, through the worker: typed or read, in time, in constant memory, without a trace."""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostile_files import FAMILIES, Hostile, craft, damage_at_random
from ophiscope.agent.overview import draw_overview
from ophiscope.core.framing import ViewPolicy
from ophiscope.core.study import Study
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.study import read_study
from ophiscope.media.workers import borrow_worker

POLICY = ViewPolicy(patch_px=16, max_view_px=256 * 256, min_view_px=16 * 16)
MOST_SECONDS, MOST_GROWTH_MB = 5.0, 64.0


def read_memory_mb(process: int | str, what: str) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return float(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


@dataclass
class Seen:
    """What became of many files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    worker_peak_mb: float = 0.0
    parent_growth_mb: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{code} {count}" for code, count in self.outcomes.most_common())
        memory = f"worker at most {self.worker_peak_mb:.0f} MB, parent +{self.parent_growth_mb:.1f} MB"
        return f"{counts}; slowest {self.slowest_s:.2f} s; {memory}"


def look(path: Path) -> str:
    """Read and show one file as a person would: with a choice where one is needed."""
    code = ""
    for wish in ({}, {"frame": 0}, {"slice_at": SliceChoice(SliceAxis.AXIAL, 0)}):
        try:
            study: Study = read_study(path, **wish)  # type: ignore[arg-type]
            draw_overview(study, POLICY)
        except MediaRejected as refusal:
            said, code = str(refusal), refusal.code.value
            assert said.isprintable(), said
            assert "DOE" not in said
            assert len(said) < 600
            if refusal.code is not MediaCode.NEEDS_SELECTION:
                return code
        else:
            return "read"
    return code


def survive(files: Iterable[Hostile], folder: Path) -> Seen:
    seen, path = Seen(), folder / "file"
    for number, hostile in enumerate(files):
        path.write_bytes(hostile.data)
        started = time.monotonic()
        seen.outcomes[look(path)] += 1
        taken = time.monotonic() - started
        assert taken < MOST_SECONDS, hostile.name
        seen.slowest_s = max(seen.slowest_s, taken)
        if number % 50 == 49:
            with borrow_worker() as worker:
                seen.worker_peak_mb = max(seen.worker_peak_mb, read_memory_mb(worker.pid, "VmHWM"))
    return seen


def assert_survived(files: Iterable[Hostile], folder: Path) -> Seen:
    folder.mkdir(exist_ok=True)
    before, open_before = read_memory_mb("self", "VmRSS"), len(os.listdir("/proc/self/fd"))
    seen = survive(files, folder)
    growth = read_memory_mb("self", "VmRSS") - before
    assert growth < MOST_GROWTH_MB, seen
    assert len(os.listdir("/proc/self/fd")) <= open_before + 4  # a worker has two pipes, and its successor two
    assert os.listdir(folder) == ["file"]
    assert seen.worker_peak_mb < 2048
    # refusals alone, or none, would show nothing
    total = sum(seen.outcomes.values())
    assert seen.outcomes["read"] > total // 50, seen
    assert total - seen.outcomes["read"] > total // 20, seen
    seen.parent_growth_mb = growth
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_crafted_and_damaged_files_of_a_family(family: str, tmp_path: Path) -> None:
    seeds = FAMILIES[family]()
    assert_survived([*list(craft(seeds))[::4], *damage_at_random(seeds, 400, seed=1)], tmp_path / "files")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_crafted_and_twenty_thousand_damaged_files(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = FAMILIES[family]()
    crafted = list(craft(seeds))
    assert len(crafted) >= 300
    for what, files in (("crafted", crafted), ("damaged", damage_at_random(seeds, 20_000, seed=3))):
        seen = assert_survived(files, tmp_path / what)
        with capsys.disabled():
            sys.stdout.write(f"\n{family}, {what}: {sum(seen.outcomes.values())} files: {seen}\n")
