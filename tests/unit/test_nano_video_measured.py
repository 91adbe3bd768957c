"""How nano on video is measured: items, what may be shown instead, and the baselines, with the oracle in its place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ophiscope.core.axis import Interval
from ophiscope.core.chat import FinishReason, Reply
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import run_items
from ophiscope.models.local.load import load_local, write_checkpoint
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.tokens import load_codec
from ophiscope.recipes.nano_video.baselines import compute_iou, find_prior_window, read_gap
from ophiscope.recipes.nano_video.evaluate import summarise_ious, summarise_records
from ophiscope.recipes.nano_video.items import (
    VIDEO_SETS,
    Shown,
    guide_by_oracle,
    list_tasks,
    list_video_sources,
    set_up,
)
from ophiscope.recipes.nano_video.report import render_kinds, render_windows
from ophiscope.recipes.nano_video.shape import CARD, VIDEO_SHAPE, VIEWS
from ophiscope.recipes.nano_video.train import begin_from
from ophiscope.worlds.procedure import Action
from ophiscope.worlds.procedure_asks import ProcedureKind

N = 6
NANO = Path(__file__).parents[2] / "src" / "ophiscope" / "models" / "weights" / "nano"


class Blind:
    """A model that copies the first and last stamps of the last crop."""

    card = CARD

    def sample(self, requests: Any) -> list[Reply]:
        return [Reply(self._reply(request.messages), FinishReason.STOP) for request in requests]

    def _reply(self, messages: Any) -> str:
        views = [view.picture.place.time_s for view in messages[-1].views]
        return f"<answer>interval {views[0]:g}-{views[-1]:g} s [E1]</answer>"

    def close(self, session: str) -> None:
        """Nothing is kept."""


def run(shown: Shown = Shown.ASKED) -> list[ItemRecord]:
    model = guide_by_oracle(Blind(), "when", N)
    return list(run_items(list_video_sources("when", N, shown=shown), model, lambda case: set_up(case, model)))


def test_windows_of_the_oracle_are_near_and_what_is_shown_instead_leads_nowhere() -> None:
    asked, blank, foreign = (run(shown) for shown in (Shown.ASKED, Shown.BLANK, Shown.FOREIGN))
    near = [record.cited_iou for record in asked]
    assert sum(iou is not None and iou > 0.05 for iou in near) >= N - 1
    assert all(record.cited_shown for record in asked if record.cited_iou)
    # the oracle looks by what it knows, not at pixels: the very calls are made, and served from other frames
    assert [record.question for record in foreign] == [record.question for record in asked]
    assert {record.stop for record in (*blank, *foreign)} == {"answered"}


def test_seeds_of_sets_are_apart_and_held_out_is_what_it_says() -> None:
    seeds = {name: {draw().procedure.seed for draw in list_tasks(name, N)} for name in VIDEO_SETS}
    assert len(set().union(*seeds.values())) == sum(map(len, seeds.values()))
    for draw in list_tasks("when, held-out action", N):
        assert draw().ask.action is Action.SUTURE
    kinds = {draw().ask.kind for draw in list_tasks("others", 7)}
    assert kinds == set(ProcedureKind) - {ProcedureKind.WHEN}


def test_more_frames_tell_a_perfect_eye_more_and_the_prior_least() -> None:
    tasks = [draw() for draw in list_tasks("when", 12)]
    truths = [task.key.evidence_interval for task in tasks]
    assert all(isinstance(true, Interval) for true in truths)

    def mean(said: Any) -> float:
        pairs = zip(tasks, truths, strict=True)
        return float(np.mean([compute_iou(said(task), (true.start, true.end)) for task, true in pairs if true]))

    low, high = find_prior_window(tasks)
    prior = mean(lambda task: (low * task.procedure.duration_s, high * task.procedure.duration_s))
    few, many = mean(lambda task: read_gap(task, 16)), mean(lambda task: read_gap(task, 64))
    assert prior < few < many


def test_summaries_say_what_they_rest_on() -> None:
    found = summarise_ious([0.0, 0.4, 0.6, 1.0])
    assert (found["n"], found["miou"][0]) == (4, 0.5)
    assert [found[f"r@{least}"][0] for least in (0.3, 0.5, 0.7)] == [0.75, 0.5, 0.25]
    records = run()
    told = summarise_records(records)[ProcedureKind.WHEN.value]
    assert told["n"] == N
    assert told["right"][0] == sum(bool(record.correct) for record in records)
    wrong = [replace_score(record) for record in records]
    assert summarise_records(wrong)[ProcedureKind.WHEN.value]["miou"][0] == 0.0


def replace_score(record: ItemRecord) -> ItemRecord:
    return record.model_copy(update={"score": None, "correct": False})


def test_a_checkpoint_says_how_it_looks(tmp_path: Path) -> None:
    codec = load_codec(NANO)
    words = codec.tokenizer.get_vocab_size()
    config = build_nano_config(words, image_token_id=codec.image_id, shape=VIDEO_SHAPE, views=VIEWS)
    model = build_nano_model(config, seed=0)
    assert begin_from(model, codec, NANO) == words
    write_checkpoint(tmp_path, model, codec.tokenizer, half=True)
    card = load_local(f"hf:{tmp_path}").card
    same = replace(card, name=CARD.name, weights_sha256=None, chat_template_sha256=None)
    assert same == CARD
    assert load_local("nano").card.most_frames != card.most_frames


def test_tables_hold_every_row_with_its_interval() -> None:
    rows = {
        "when | tools": summarise_records(run()),
        "when | prior window": summarise_ious([0.0, 0.5, 1.0]),
    }
    windows, kinds = list(render_windows(rows)), list(render_kinds(rows))
    assert len(windows) == 4
    assert windows[2].startswith(f"| when | tools | {N} | 0.")
    assert windows[3].startswith("| when | prior window | 3 | 0.500 (")
    assert "66.7% (" in windows[3]
    assert len(kinds) == 3
    assert kinds[2].startswith("| when | tools | when | ")
    assert f" of {N} (" in kinds[2]


def test_without_tools_an_episode_has_none() -> None:
    case = list_tasks("when", 1)[0]().case
    assert set_up(case, Blind(), ()).tools == ()
    assert {tool.name for tool in set_up(case, Blind()).tools} == {"crop_video", "get_frame"}
