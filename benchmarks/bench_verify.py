"""How fast a trace is checked and written: the passes of ``verify`` apart, beside a bare sha256 over the same lines.

The chain pass must reach 50,000 events a second. ``python benchmarks/bench_verify.py [EVENTS]`` prints one row per
pass; ``--json`` one object. The events are a mix of replies, calls, views and observations, about 500 bytes a line.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.core.trace import (
    CallEvent,
    Event,
    Manifest,
    ObservationEvent,
    OpenedEvent,
    ReplyEvent,
    StopReason,
    ViewEvent,
)
from ophiscope.ledger.chain import check_chain
from ophiscope.ledger.links import Links
from ophiscope.ledger.sink import FileSink
from ophiscope.ledger.verify import check_schema, verify

REPEATS = 5
ROOT = "ab" * 32


def build_turn(turn: int, media_sha256: str) -> list[Event]:
    """Four events of a usual turn."""
    box = (10.5, 20.25, 210.5, 180.75)
    evidence = Evidence(
        id=f"E{turn}", kind=EvidenceKind.REGION, study="S1", root=ROOT, tool="segment_box", views=(turn,), box_xyxy=box
    )
    text = "<think>The dark spot on the left is not clear in the overview.</think>"
    return [
        ReplyEvent(turn=turn, text=text, finish="stop", token_ids=tuple(range(40)), token_exact=True),
        CallEvent(turn=turn, name="segment_box", arguments={"view": 1, "box": [103, 220, 515, 640]}),
        ViewEvent(
            turn=turn,
            view=turn,
            study="S1",
            root=ROOT,
            size_wh=(224, 224),
            origin_xy=box[:2],
            scale_xy=(0.5, 0.5),
            window=None,
            marked=False,
            media_sha256=media_sha256,
        ),
        ObservationEvent(turn=turn, name="segment_box", text="mask of 812 px", views=(turn,), evidence=evidence),
    ]


def write_trace(folder: Path, turns: int) -> float:
    """Write a trace of ``turns`` turns and return the processor seconds that one event took, fsync left out."""
    manifest = Manifest(
        ophiscope="bench", versions={}, model={}, segmenter={}, prompt_sha256="0" * 64, tools=(), limits={}, seed=0
    )
    with FileSink(folder, manifest, lambda: datetime.now(UTC)) as sink:
        digest = sink.add_media(b"picture", "png")
        header = StudyHeader(study="S1", kind=StudyKind.IMAGE, root=ROOT, size_wh=(640, 480), channels=3)
        opened = OpenedEvent(
            manifest_sha256=sink.manifest_sha256, question="?", options=(), studies=(header,), roots=()
        )
        sink.append(opened)
        events = [event for turn in range(1, turns + 1) for event in build_turn(turn, digest)]
        start = time.process_time()
        for event in events:
            sink.append(event)
        seconds = time.process_time() - start
        sink.close(StopReason.ANSWERED)
    return seconds / len(events)


def measure(run: Callable[[], object]) -> float:
    """Least processor seconds of some runs: a rate of one core, whatever else the machine does."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main(arguments: list[str]) -> None:
    """Print the table."""
    counts = [int(argument) for argument in arguments if argument.isdigit()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t"
        event_s = write_trace(path, (counts or [20_000])[0] // 4)
        lines = (path / "trace.jsonl").read_bytes().splitlines(keepends=True)
        seconds = {
            "bare sha256": measure(lambda: [sha256(line).hexdigest() for line in lines]),
            "chain pass": measure(lambda: check_chain(lines)),
            "schema pass": measure(lambda: check_schema(lines, Links())),
            "verify, all passes": measure(lambda: verify(path)),
        }
        assert verify(path).complete
    rates = {name: round(len(lines) / value) for name, value in seconds.items()}
    rates["append, without fsync"] = round(1 / event_s)
    if "--json" in arguments:
        print(json.dumps({"events": len(lines), "bytes": sum(map(len, lines)), "events_per_s": rates}))
        return
    print(f"{len(lines):,} events, {sum(map(len, lines)) // len(lines)} bytes a line")
    for name, rate in rates.items():
        print(f"{name:24}{rate:>12,} events/s   {rate / rates['bare sha256']:8.3f} x bare sha256")


if __name__ == "__main__":
    main(sys.argv[1:])
