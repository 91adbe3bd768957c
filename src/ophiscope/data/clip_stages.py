"""The stages of ClinVideoSuite that need a teacher, each a pure function of what it is given and the teacher.

segment -> caption -> merge -> question with its window -> text filter -> visual judge -> sufficiency: what the window
shows must be enough, and the rest of the video must not (arXiv 2602.13332; the wording and the second half of
sufficiency are ours).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ophiscope.core.study import Study
from ophiscope.data.inquiry import Inquirer
from ophiscope.data.sources.annotated import Unusable
from ophiscope.data.timed_questions import Segment
from ophiscope.metrics.answers import compute_text_scores

__all__ = [
    "KEPT_FROM",
    "Asked",
    "caption_segments",
    "check_sufficient",
    "judge_text",
    "judge_window",
    "merge_segments",
    "split_clips",
    "write_question",
]

KEPT_FROM = 0.85
"""Mean of the visual judge's marks from which a question is kept."""
_CLIP_S = 20.0
_MARKS = ("relevance", "evidence", "clarity", "timing")
_CAPTION = (
    "Say in one sentence what is done and seen in these frames of a procedure: instruments, anatomy, actions. "
    "No times, no guesses about what is not shown."
)
_MERGE = "Two neighbouring clips of one video were captioned. Do both captions tell of one and the same event?"
_QUESTION = (
    "Write one question that can only be answered by looking at these frames, and its answer. At most 50 words for the "
    "question and 25 for the answer. The question must hold no time and not give its answer away. start_s and end_s "
    "bound the shortest stretch that shows the answer."
)
_TEXT = (
    "Judge the question by its words alone. keep is false if common sense answers it, if it is ambiguous or "
    "subjective, or if it needs knowledge that no frame can show; reason says which."
)
_VISUAL = "The frames are the evidence for the answer to the question. Give each mark from 0 to 1."
_ANSWER = "Answer the question from these frames alone, in at most 25 words; write unknown if they do not show it."
_SAME = "Do both answers to the question mean the same?"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its answer and where it shows."""

    question: str
    answer: str
    start_s: float
    end_s: float


def split_clips(duration_s: float) -> list[Segment]:
    """Clips of equal length, where a video has no segments of its own."""
    count = max(1, round(duration_s / _CLIP_S))
    edges = [duration_s * index / count for index in range(count + 1)]
    return [Segment(start, end, "") for start, end in pairwise(edges)]


def caption_segments(inquirer: Inquirer, study: Study, segment: Segment) -> Segment:
    """A segment with the teacher's words for it.

    Raises:
        Unusable: As :meth:`~ophiscope.data.inquiry.Inquirer.ask`.
    """
    given = {"label": segment.label} if segment.label else {}
    stretch = [(segment.start_s, segment.end_s)]
    said = inquirer.ask(_CAPTION, {"caption": str}, given=given, study=study, stretches=stretch)
    return Segment(segment.start_s, segment.end_s, said["caption"])


def merge_segments(inquirer: Inquirer, captioned: Sequence[Segment]) -> list[Segment]:
    """Neighbours that tell of one event, as one; the first caption stays.

    Raises:
        Unusable: As :meth:`~ophiscope.data.inquiry.Inquirer.ask`.
    """
    merged: list[Segment] = []
    for segment in captioned:
        if merged and abs(merged[-1].end_s - segment.start_s) < 1.0:
            given = {"first": merged[-1].label, "second": segment.label}
            if inquirer.ask(_MERGE, {"same": bool}, given=given)["same"]:
                merged[-1] = Segment(merged[-1].start_s, segment.end_s, merged[-1].label)
                continue
        merged.append(segment)
    return merged


def write_question(inquirer: Inquirer, study: Study, event: Segment) -> Asked:
    """A question about an event, with a window inside of it.

    Raises:
        Unusable: If the teacher's reply cannot be used, or its window does not lie in the event.
    """
    fields = {"question": str, "answer": str, "start_s": float, "end_s": float}
    stretch = [(event.start_s, event.end_s)]
    said = inquirer.ask(_QUESTION, fields, given={"event": event.label}, study=study, stretches=stretch)
    start_s, end_s = said["start_s"], said["end_s"]
    if not start_s < end_s:
        raise Unusable("reversed window", f"{start_s:g}-{end_s:g} s")
    if start_s < event.start_s - 1.0 or end_s > event.end_s + 1.0:
        raise Unusable("window outside of its event", f"{start_s:g}-{end_s:g} s")
    return Asked(said["question"], said["answer"], max(start_s, event.start_s), min(end_s, event.end_s))


def judge_text(inquirer: Inquirer, asked: Asked) -> Asked:
    """The filter of words; gives what it kept.

    Raises:
        Unusable: If it is not kept.
    """
    given = {"question": asked.question, "answer": asked.answer}
    said = inquirer.ask(_TEXT, {"keep": bool, "reason": str}, given=given)
    if not said["keep"]:
        raise Unusable("text judge", said["reason"][:200])
    return asked


def judge_window(inquirer: Inquirer, study: Study, asked: Asked) -> dict[str, float]:
    """The marks of the visual judge.

    Raises:
        Unusable: If their mean is below :data:`KEPT_FROM`, or one is no mark.
    """
    given = {"question": asked.question, "answer": asked.answer}
    stretch = [(asked.start_s, asked.end_s)]
    marks = inquirer.ask(_VISUAL, dict.fromkeys(_MARKS, float), given=given, study=study, stretches=stretch)
    if not all(0.0 <= mark <= 1.0 for mark in marks.values()):
        raise Unusable("visual judge gave no marks", str(marks)[:120])
    mean = sum(marks.values()) / len(marks)
    if mean < KEPT_FROM:
        raise Unusable("visual judge", f"{mean:.2f}")
    return {name: float(mark) for name, mark in marks.items()}


def check_sufficient(inquirer: Inquirer, study: Study, asked: Asked, duration_s: float) -> None:
    """The window must be enough, and everything else must not.

    Raises:
        Unusable: If the window does not answer the question, or the rest of the video does.
    """
    stretch = [(asked.start_s, asked.end_s)]
    said = inquirer.ask(_ANSWER, {"answer": str}, given={"question": asked.question}, study=study, stretches=stretch)
    if not is_same(inquirer, asked.question, asked.answer, said["answer"]):
        raise Unusable("evidence does not suffice", said["answer"][:200])
    rest = [(start, end) for start, end in ((0.0, asked.start_s), (asked.end_s, duration_s)) if end - start > 1.0]
    if not rest:
        return
    said = inquirer.ask(_ANSWER, {"answer": str}, given={"question": asked.question}, study=study, stretches=rest)
    if is_same(inquirer, asked.question, asked.answer, said["answer"]):
        raise Unusable("answered without evidence", said["answer"][:200])


def is_same(inquirer: Inquirer, question: str, truth: str, said: str) -> bool:
    """Whether two answers mean the same: by rule, and where no rule finds them equal by the teacher.

    Raises:
        Unusable: As :meth:`~ophiscope.data.inquiry.Inquirer.ask`.
    """
    if compute_text_scores(said, truth).exact:
        return True
    if said.strip().casefold().rstrip(".") == "unknown":
        return False
    given = {"question": question, "true": truth, "judged": said}
    return bool(inquirer.ask(_SAME, {"same": bool}, given=given)["same"])
