"""Drawn benchmarks: what they hold, that nobody trained on it, and that their oracles know the answers."""

import ast
from pathlib import Path

import numpy as np
import pytest

import ophiscope
from ophiscope.agent.assemble import SetupOptions, build_segmenter, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions
from ophiscope.eval.benchmarks import phantom_image, phantom_video
from ophiscope.eval.items import EvalItem
from ophiscope.recipes.baselines.fit import FIRST_SEED as BASELINE_SEED
from ophiscope.recipes.nano.tasks import CARD as NANO_CARD
from ophiscope.recipes.nano_video.shape import CARD as VIDEO_CARD
from ophiscope.worlds.domain import UNFAMILIAR

BENCHMARKS = {one.name: one for one in (*phantom_image.BENCHMARKS, *phantom_video.BENCHMARKS)}
ROOT = Path(ophiscope.__file__).parent


def build_items(name: str, n: int, **options: object) -> list[EvalItem]:
    opened = BENCHMARKS[name].open(BenchOptions(count=n, **options))  # type: ignore[arg-type]
    return [source.build() for source in opened.sources]


def list_seeds(benchmark: Benchmark, options: BenchOptions) -> set[int]:
    return {int(source.name.rpartition("-")[2]) for source in benchmark.open(options).sources}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_names_differ_and_are_as_many_as_asked_for(name: str) -> None:
    for options in (BenchOptions(), BenchOptions(count=37)):
        sources = BENCHMARKS[name].open(options).sources
        assert len({source.name for source in sources}) == len(sources)
        assert len(sources) == (options.count or (1000 if "image" in name else 200))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_same_seed_is_the_same_benchmark_and_another_is_not(name: str) -> None:
    one, same, other = (BENCHMARKS[name].open(BenchOptions(seed=seed, count=20)) for seed in (3, 3, 4))
    assert one.revision == same.revision != other.revision
    assert [source.name for source in one.sources] == [source.name for source in same.sources]
    assert "seed 3" in one.notes[0]
    assert one.sources[0].name.rpartition("-")[2] in one.notes[0]


def test_another_world_under_the_same_names_is_another_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_it() -> tuple[list[str], str]:
        opened = BENCHMARKS["phantom-image"].open(BenchOptions(count=5, variant="L1"))
        return [source.name for source in opened.sources], opened.revision

    before, draw = open_it(), phantom_image.draw_phantom
    monkeypatch.setattr(
        phantom_image, "draw_phantom", lambda seed, kind, **other: draw(seed, kind, **{**other, "domain": UNFAMILIAR})
    )
    after = open_it()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_seeds_of_benchmarks_do_not_meet() -> None:
    drawn: set[int] = set()
    for benchmark in BENCHMARKS.values():
        for seed in (0, 1):
            seeds = list_seeds(benchmark, BenchOptions(seed=seed))
            assert not drawn & seeds
            drawn |= seeds
    last = list_seeds(BENCHMARKS["phantom-image-ood"], BenchOptions(seed=4999, count=50))
    assert max(last) < min(list_seeds(BENCHMARKS["phantom-video"], BenchOptions(count=50)))


def test_no_recipe_names_a_seed_as_high_as_those_of_benchmarks() -> None:
    files = [path for room in ("recipes", "data", "train") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 50
    for path in [*files, ROOT / "env.py"]:
        numbers = [
            node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)
        ]
        whole = [value for value in numbers if isinstance(value, int)]
        assert max(whole, default=0) < phantom_image.FIRST_SEED, path
    assert max(list_seeds(BENCHMARKS["phantom-image"], BenchOptions(count=3))) >= phantom_image.FIRST_SEED
    assert BASELINE_SEED < phantom_image.FIRST_SEED


@pytest.mark.parametrize("module", [phantom_image, phantom_video])
def test_training_cannot_be_drawn_from_a_benchmark(module: object) -> None:
    first = phantom_image.FIRST_SEED
    (source,) = module.list_training("", range(first - 1, first))  # type: ignore[attr-defined]
    assert source.name.endswith(str(first - 1))
    with pytest.raises(ValueError, match="reach those of benchmarks"):
        module.list_training("", range(first - 1, first + 1))  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{"seed": 5000}, {"seed": -1}, {"count": 2_000_001}])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_would_reach_into_another_benchmark_is_refused(name: str, options: dict[str, int]) -> None:
    with pytest.raises(WrongInput, match="are accepted"):
        BENCHMARKS[name].open(BenchOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["plain", "L1", "L2", "L3", "W"])
def test_a_variant_is_one_kind_alone(kind: str) -> None:
    sources = BENCHMARKS["phantom-image"].open(BenchOptions(variant=kind, count=6)).sources
    assert {source.tags["needle"] for source in sources} == {kind}


def test_the_kinds_take_turns() -> None:
    sources = BENCHMARKS["phantom-image"].open(BenchOptions(count=10)).sources
    assert [source.tags["needle"] for source in sources] == ["plain", "L1", "L2", "L3", "W"] * 2
    parts = [source.tags["part"] for source in BENCHMARKS["phantom-video"].open(BenchOptions(count=10)).sources]
    assert len(set(parts)) == 5
    ood = BENCHMARKS["phantom-image-ood"].open(BenchOptions(count=9)).sources
    assert [source.tags["domain"] for source in ood[:3]] == ["appearance", "lesion family", "image size"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_oracle_is_right(name: str) -> None:
    card = NANO_CARD if "image" in name else VIDEO_CARD
    right, n = 0, 40
    for index, item in enumerate(build_items(name, n)):
        assert item.build_oracle is not None
        oracle = item.build_oracle(card)
        segmenter = build_segmenter("nano-seg", offline=True) if item.key.kind is ResultKind.MASK else None
        setup = build_setup(item.case, oracle, segmenter, SetupOptions())
        outcome = collect_episode(item.case, oracle, setup, session=str(index))
        right += bool(item.judge(outcome, item.key).correct)
    assert right >= 0.95 * n


@pytest.mark.parametrize("name", BENCHMARKS)
def test_tags_tell_absence_and_whether_a_look_is_needed(name: str) -> None:
    seen = set()
    for item in build_items(name, 40):
        is_absent = (item.key.kind, item.key.text) == (ResultKind.YES_NO, "no")
        assert ("negative" in item.tags) is is_absent
        assert item.tags["needs-tool"] == ("yes" if item.key.least_calls else "no")
        seen.add(item.tags.get("negative"))
    assert seen <= {None, "look-alike", "co-occurring", "random"}
    if name == "phantom-image":
        assert {"look-alike", "co-occurring"} <= seen


def test_some_questions_cannot_be_answered() -> None:
    sources = phantom_image.list_training("", range(BASELINE_SEED, BASELINE_SEED + 1000))
    share = np.mean([source.build().key.kind is ResultKind.INSUFFICIENT for source in sources])
    assert 1 / 20 < share < 1 / 11


@pytest.mark.parametrize("name", ["phantom-image", "phantom-image-ood"])
def test_foreign_pictures_have_the_header_and_other_pixels(name: str) -> None:
    for item in build_items(name, 5):
        assert item.foreign is not None
        (study,), (foreign,) = item.case.studies, item.foreign()
        assert foreign.header == study.header
        mine, other = study.source.read_root(), foreign.source.read_root()
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        assert np.mean(mine != other) > 0.2


def test_foreign_recordings_have_the_header_and_other_events() -> None:
    for item in build_items("phantom-video", 5):
        assert item.foreign is not None
        (study,), (foreign,) = item.case.studies, item.foreign()
        assert foreign.header == study.header
        assert study.stack is not None
        assert foreign.stack is not None
        place = study.stack.survey(5).places[2]
        mine, other = (one.at(place).source.read_root() for one in (study, foreign))
        assert mine.shape == other.shape
        assert (mine != other).any()


def test_a_key_holds_the_place_of_what_is_asked() -> None:
    keys: list[AnswerKey] = [item.key for item in build_items("phantom-image", 40, variant="L1")]
    assert all(key.evidence_boxes and key.needed_tools == ("zoom_in",) for key in keys)
