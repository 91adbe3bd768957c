"""Small evaluations for tests: questions about a bright square, and models that answer by rule."""

from collections.abc import Callable, Sequence
from functools import partial

from episode_cases import ZOOM, build_colour_study
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.core.region import Box
from ophiscope.core.result import ResultKind
from ophiscope.errors import ModelFailed
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.open_run import OpenedRun, open_run
from ophiscope.eval.run_spec import RunSpec
from ophiscope.metrics.tools import Target
from ophiscope.models.scripted import ScriptedModel

CARD = ScriptedModel(["x"]).card


class RuleModel:
    """Answers as a rule says of the question; looks first where it is told to.

    Args:
        rule: The answer to a question.
        looks: Whether it zooms before it answers.
    """

    def __init__(self, rule: Callable[[str], str], *, looks: bool = False, dies_after: int | None = None) -> None:
        self._rule, self._looks, self._left = rule, looks, dies_after
        self.asked = 0

    @property
    def card(self) -> ModelCard:
        return CARD

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._say(request) for request in requests]

    def close(self, session: str) -> None:
        return

    def _say(self, request: Request) -> Reply:
        self.asked += 1
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise ModelFailed("the server is gone")
        spoken = any(message.role is Role.ASSISTANT for message in request.messages)
        if self._looks and not spoken:
            return Reply(ZOOM, FinishReason.STOP)
        text = next(message.text for message in request.messages if message.role is Role.USER)
        cite = " [E1]" if self._looks else ""
        return Reply(f"<answer>{self._rule(text)}{cite}</answer>", FinishReason.STOP)


_STUDY = build_colour_study()


def build_item(number: int) -> EvalItem:
    """Whether a number is even; three questions share a picture."""
    frame = _STUDY.frame
    box = Box(frame, 200.0, 100.0, 300.0, 180.0)
    key = AnswerKey(
        ResultKind.YES_NO, "no" if number % 2 else "yes", evidence_boxes=(box,), needed_tools=("zoom_in",),
        least_calls=1, group="odd" if number % 2 else "even",
    )  # fmt: skip
    return EvalItem(Case((_STUDY,), f"Is {number} even?"), key, (Target(frame.root, box.root_xyxy),))


def list_sources(n: int) -> tuple[ItemSource, ...]:
    return tuple(ItemSource(f"q{number}", partial(build_item, number), f"picture {number // 3}") for number in range(n))


def build_benchmark(n: int, sources: Sequence[ItemSource] | None = None) -> Benchmark:
    opened = OpenedBenchmark(tuple(sources or list_sources(n)), f"{n:064d}", ("drawn for a test",))

    def open_it(options: BenchOptions) -> OpenedBenchmark:
        return opened

    return Benchmark("even", "whether numbers are even", "CC0", open_it, drawn=True)


def open_test_run(n: int, model: object, *, sources: Sequence[ItemSource] | None = None, **asked: object) -> OpenedRun:
    """A run of ``n`` questions asked of ``model``."""
    benchmark = build_benchmark(n, sources)
    spec = RunSpec.model_validate({"benchmark": "even", "segmenter": "classical", **asked})
    return open_run(spec, lambda name: (benchmark, ""), load=lambda name, opened: model)  # type: ignore[arg-type,return-value]
