"""Traces of released formats stay readable, and their heads stay what they were."""

import shutil
from pathlib import Path

from ophiscope.core.trace import StopReason
from ophiscope.ledger.line import compute_payload_head
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify

TRACES = Path(__file__).parent / "traces"


def test_format_1(tmp_path: Path) -> None:
    shutil.copytree(TRACES / "v1", tmp_path / "v1")
    verdict, trace = verify(tmp_path / "v1"), read_trace(tmp_path / "v1")
    assert (verdict.problems, verdict.complete, verdict.events) == ((), True, 16)
    assert verdict.chain_head == "6dcf616ac9215fca65c37a0e861a883e65726884647c9b487a5c5c9ab70e2208"
    assert verdict.payload_head == "6af035687520bbaeb7cade8e3fa7bce4f4ad6ece3a72d36f7629d0ec2ce1b668"
    assert compute_payload_head(trace.events) == verdict.payload_head
    assert trace.closed is not None
    assert trace.closed.stop is StopReason.ANSWERED
    assert sorted({event.event for event in trace.events}) == [
        "answer",
        "call",
        "closed",
        "egress",
        "failure",
        "note",
        "observation",
        "opened",
        "refusal",
        "reply",
        "view",
    ]
