"""``ophiscope audit``: would the answer have been the same without this evidence?"""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from ophiscope.agent.offline import offline as offline_block
from ophiscope.apps.terminal import print_json, print_lines, render_plain
from ophiscope.errors import CheckFailed, DiskFailed, WrongInput
from ophiscope.eval.audit import audit_trace
from ophiscope.eval.audit_record import AuditRecord, EvidenceAudit, check_audit
from ophiscope.eval.open_audit import open_audit
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify

__all__ = ["AuditArguments", "run_audit"]

_MOST_BYTES = 2**24


class AuditArguments(NamedTuple):
    """How ``audit`` was called."""

    trace: Path
    evidence: tuple[str, ...]
    model: str | None
    studies: tuple[Path, ...]
    out: Path | None
    seed: int
    check: bool
    offline: bool
    allow_egress: bool
    as_json: bool


def run_audit(arguments: AuditArguments) -> int:
    """Audit a trace, or check the record of an audit.

    Raises:
        OphiscopeError: If the trace, its model or its sources cannot be used, or the record cannot be written.
    """
    folder = arguments.trace
    record_path = arguments.out or folder.with_name(f"{folder.resolve().name}.audit.json")
    if arguments.check:
        return _check(folder, record_path, as_json=arguments.as_json)
    if record_path.exists():
        raise WrongInput(f"{record_path} is there already; give another file with -o, or check it with --check.")
    if record_path.resolve().is_relative_to(folder.resolve()):
        raise WrongInput(f"{record_path} lies inside of the trace, which would no longer be intact.")
    with ExitStack() as stack:
        if arguments.offline:
            stack.enter_context(offline_block())
        audited = open_audit(
            folder,
            arguments.studies,
            model=arguments.model,
            offline=arguments.offline,
            allow_egress=arguments.allow_egress,
        )
        record = audit_trace(audited, arguments.evidence, seed=arguments.seed, tell=_tell)
    _write(record, record_path)
    if arguments.as_json:
        print_json({"record": str(record_path), **record.model_dump(mode="json")})
    else:
        print_lines(*_render(record), f"record: {record_path}", record.limits)
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(render_plain(line) + "\n")
    sys.stderr.flush()


def _render(record: AuditRecord) -> Sequence[str]:
    lines = [f"The answer was {record.answer!r}. Would it have been the same without its evidence?"]
    return [*lines, *(_render_one(one) for one in record.evidence)]


def _render_one(one: EvidenceAudit) -> str:
    low, high = one.ci95
    return (
        f"  {' + '.join(one.evidence)}: {one.verdict.value.replace('_', ' ')}. The same in {one.same_control} of "
        f"{one.draws_control} draws with it, {one.same_removed} of {one.draws_removed} without it; "
        f"change {one.change:+.2f} (95 % {low:+.2f} to {high:+.2f})"
    )


def _write(record: AuditRecord, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DiskFailed(f"The record could not be written to {path}: {error.strerror}.") from error


def _check(folder: Path, path: Path, *, as_json: bool) -> int:
    verdict = verify(folder)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise WrongInput(f"{path} is no record of an audit: it is larger than {_MOST_BYTES} bytes.")
        record = AuditRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WrongInput(f"{path} is no record of an audit.") from error
    problems = check_audit(record, read_trace(folder), verdict)
    if as_json:
        print_json({"record": str(path), "holds": not problems, "problems": problems})
        return 1 if problems else 0
    print_lines(*(problems or ["The record belongs to this trace, and its verdicts follow from its draws."]))
    if problems:
        raise CheckFailed(f"{path} does not hold: {len(problems)} problems.")
    return 0
