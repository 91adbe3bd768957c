"""Arms of a study: they differ in what they say they differ in, share a parent, and a table says what came of them."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from ophiscope.core.trace import StopReason
from ophiscope.eval.records import CallFacts, ItemRecord
from ophiscope.metrics.tools import CallVerdict
from ophiscope.recipes.config import read_config
from ophiscope.recipes.nano.reinforce import ImageRunConfig
from ophiscope.recipes.nano_small import run
from ophiscope.recipes.nano_small.run import Measured, main, render_table
from ophiscope.recipes.nano_small.studies import STUDIES
from ophiscope.recipes.nano_video.reinforce import VideoRunConfig
from ophiscope.recipes.registry import RECIPES

SCHEMAS: dict[str, type[BaseModel]] = {"nano_image": ImageRunConfig, "nano_video": VideoRunConfig}


def record(name: str, score: float, *, calls: int = 1) -> ItemRecord:
    call = CallFacts(tool="crop_video", stage="executed", box_xyxy=None, verdict=CallVerdict.USEFUL)
    return ItemRecord(
        name=name, group="when", question="When?", right="interval 1-2 s", answer="interval 1-2 s",
        correct=score >= 0.5, score=score, reason="", stop=StopReason.ANSWERED, turns=2, calls=(call,) * calls,
        first_tool=True, least_calls=1, visual_px=1, replies=(), cited_iou=score, cited_shown=score > 0,
    )  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_is_a_run_that_train_knows(name: str) -> None:
    study = STUDIES[name]
    recipe = RECIPES[study.recipe]
    configs = [
        read_config(recipe.config, (*changes, "start=hf:parent"), SCHEMAS[study.recipe]).model_dump(mode="json")
        for changes in (study.parent, *study.arms.values())
    ]
    assert all(config["stage"] in recipe.stages for config in configs)
    assert all(config["worlds"] == configs[0]["worlds"] for config in configs)
    played = [config for config in configs if config["stage"] == "reinforce"]
    for config in played:  # nothing but the judgement differs
        config["rl"].pop("advantage")
    assert all(config == played[0] for config in played)
    assert len({json.dumps(changes) for changes in study.arms.values()}) == len(study.arms)


def test_a_table_pairs_by_seed_and_question() -> None:
    base = [Measured(seed, "plain", [record("a", 0.2), record("b", 0.6)], 10.0, 100) for seed in (0, 1)]
    better = [Measured(seed, "ours", [record("b", 0.9, calls=3), record("a", 0.5)], 30.0, 300) for seed in (0, 1)]
    rows = [line.split(" | ") for line in render_table([*base, *better], ["plain", "ours"]).splitlines()[2:4]]
    assert rows[0][0] == "| plain"
    assert rows[0][-1].startswith("+0.000 (+0.000 to +0.000)")
    assert rows[1][1] == "2"
    assert rows[1][2].startswith("100.0%")
    assert rows[1][3] == "0.700"
    assert rows[1][5:8] == ["2.00x", "30", "300"]
    assert rows[1][-1].startswith("+0.300 (+0.300 to +0.300)")


def test_a_study_runs_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--set", "steps=1", "--set", "rl.questions=1", "--set", "rl.group=2", "--set", "sft.batch=2"]
    given = [
        "run",
        "video",
        "--out",
        str(tmp_path),
        "--seeds",
        "1",
        "--n",
        "2",
        "--arms",
        "evidence,SFT longer",
        *small,
    ]
    monkeypatch.setattr("sys.argv", given)
    main()
    first = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in first.splitlines() if line.startswith("| ")][1:] == [
        "| parent",
        "| evidence",
        "| SFT longer",
    ]
    monkeypatch.setattr(run, "run_recipe", lambda *_: pytest.fail("it is done already"))
    main()
    again = capsys.readouterr().out
    assert again == "\n".join(line for line in first.splitlines() if line.startswith(("|", "n ="))) + "\n"
