"""Trajectories: a teacher answers a question of a set through the very loop and tools that serve users, and is judged.

The teacher gets the case alone. The key is read after the last turn, by whoever decides whether the episode is kept:
right by its kind of answer, and with citations that show where the truth lies.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.core.message import ImagePart, Message, Role
from ophiscope.core.trace import StopReason
from ophiscope.data.media_store import MediaStore
from ophiscope.data.record import Record, RecordKind, Rejected, Turn, name_record
from ophiscope.data.tasks_file import open_task
from ophiscope.metrics.answers import grade
from ophiscope.metrics.evidence import compute_evidence_score

__all__ = ["LEAST_EVIDENCE", "Posed", "judge_episode", "keep_episode", "pose_record", "render_turns"]

LEAST_EVIDENCE = 0.3
"""From this score of what is cited on (:mod:`ophiscope.metrics.evidence`) an episode shows where its answer comes from.
"""


class Posed(NamedTuple):
    """A question of a set, opened."""

    record: Record
    case: Case
    key: AnswerKey


def pose_record(record: Record, folder: Path) -> Posed:
    """Open the question of a record.

    Raises:
        WrongInput: As :func:`~ophiscope.data.tasks_file.open_task`.
    """
    case, key = open_task(record, folder)
    return Posed(record, case, key)


def judge_episode(posed: Posed, outcome: Outcome, *, least: float = LEAST_EVIDENCE) -> Rejected | dict[str, float]:
    """Why an episode is not kept, or what was measured of it."""
    result = outcome.result
    mask = outcome.masks.get(result.evidence) if result is not None and result.evidence is not None else None
    judged = grade(result, posed.key, mask=mask)
    cited = [entry for entry in outcome.evidence if outcome.answer is not None and entry.id in outcome.answer.cited]
    shown = compute_evidence_score(cited, posed.key)
    scores = {"answer": judged.score or 0.0} | ({} if shown is None else {"evidence": round(shown, 4)})
    reason = ""
    if outcome.stop is not StopReason.ANSWERED:
        reason = f"no answer: {outcome.stop.value}"
    elif judged.correct is None:
        reason = "no rule judges the answer"
    elif not judged.correct:
        reason = "wrong answer"
    elif shown is not None and shown < least and outcome.valid_calls:
        reason = "evidence does not show it"
    if not reason:
        return scores
    return Rejected(
        item=posed.record.origin.item,
        stage="accept",
        reason=reason,
        detail=judged.reason.value,
        scores=scores,
        record=posed.record,
    )


def keep_episode(
    posed: Posed, outcome: Outcome, *, teacher: str, setup: Setup, media: MediaStore, scores: dict[str, float]
) -> Record:
    """An episode as a record: with tools a visual chain of thought, without one a chain of thought."""
    looked = outcome.attempted_calls > 0
    kind = RecordKind.VISUAL_COT if looked else RecordKind.COT
    record = posed.record
    return record.model_copy(
        update={
            "id": name_record(record.id, kind, teacher),
            "kind": kind,
            "origin": record.origin.model_copy(update={"teacher": teacher}),
            "turns": render_turns(outcome.messages, media),
            "card": describe_setup(setup),
            "difficulty": "challenging" if looked else "easy",
            "scores": {**record.scores, **scores},
            "least_calls": record.least_calls or 0,
        }
    )


def play(posed: Posed, teacher: ChatModel, setup: Setup, *, seed: int = 0) -> Outcome:
    """Let a teacher answer, without a trace."""
    return collect_episode(posed.case, teacher, setup, session=posed.record.id, seed=seed)


def render_turns(messages: tuple[Message, ...], media: MediaStore) -> tuple[Turn, ...]:
    """Messages as they are kept: pictures are files, and ``<image>`` stands for each."""
    turns = []
    for message in messages:
        text = "".join("<image>" if isinstance(part, ImagePart) else part.text for part in message.parts)
        images = tuple(media.add_view(view.picture.pixels_H_W_3) for view in message.views)
        turns.append(Turn(role=message.role.value, text=text, images=images))
    return tuple(turns)


def describe_setup(setup: Setup) -> dict[str, Any]:
    """The card and the tools: what is needed to show the same pictures again."""
    card: ModelCard = setup.card
    return {
        **{name: value for name, value in asdict(card).items() if value is not None},
        "tools": [tool.name for tool in setup.tools],
        "segmenter": None if setup.segmenter is None else setup.segmenter.name,
        "max_turns": setup.limits.max_turns,
    }


def list_replies(record: Record) -> list[str]:
    """What the assistant said, turn by turn."""
    return [turn.text for turn in record.turns if turn.role == Role.ASSISTANT.value]


def describe_answer(record: Record) -> str:
    """The truth of a question in the words of the grammar, for who learns from bare questions."""
    if record.answer == "box" and record.boxes and not record.options:
        return f"box {[round(value) for value in record.boxes[0]]}"
    if record.answer == "interval" and record.interval_s is not None and not record.options:
        return f"interval {record.interval_s[0]:g}-{record.interval_s[1]:g} s"
    return record.answer
