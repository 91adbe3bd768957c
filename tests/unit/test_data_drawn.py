"""Sets that are drawn, episodes with real tools, the forms of others, and training on a set."""

import itertools
import json

import numpy as np
import pytest

from ophiscope.agent.assemble import build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.apps.data_card import render_card
from ophiscope.core.message import Role
from ophiscope.data.build import build_set
from ophiscope.data.drawn_media import name_phantom, open_drawn
from ophiscope.data.episodes import judge_episode, pose_record
from ophiscope.data.export import export_set
from ophiscope.data.finished import open_set
from ophiscope.data.plan import BuildOptions
from ophiscope.data.record import Rejected
from ophiscope.data.stats import compute_stats
from ophiscope.data.validate import validate_set
from ophiscope.errors import WrongInput
from ophiscope.models.scripted import ScriptedModel
from ophiscope.recipes.set_lessons import teach_by_sets
from ophiscope.recipes.sets.cards import CARDS
from ophiscope.recipes.sets.procedures import caption_procedure
from ophiscope.recipes.sets.registry import make_plan
from ophiscope.worlds.draw import Needle
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from set_cases import build, read_lines, write_mask_folders


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    build(folder, "phantom_image", limit=40)
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite") / "set"
    build(folder, "phantom_video_suite", limit=6)
    return folder


def test_phantoms_and_their_episodes(phantoms):
    finished = open_set(phantoms)
    assert validate_set(finished) == []
    records = list(finished.read())
    assert len(records) > 30
    looked = [record for record in records if record.kind == "visual_cot"]
    assert all(any(turn.role == "tool" for turn in record.turns) for record in looked)
    assert {record.group for record in records} >= {"L1", "L3"}


def test_what_slipped_is_not_learned(phantoms):
    turns = [turn for record in open_set(phantoms).read() for turn in record.turns]
    spoiled = [turn for turn in turns if not turn.learned]
    assert spoiled
    assert all(turn.role == "assistant" and "<tool_call>" in turn.text for turn in spoiled)


def test_a_set_teaches_what_it_holds(phantoms):
    teach = teach_by_sets([str(phantoms)], CARDS["nano"], seed=0)
    train = [record for record in open_set(phantoms).read() if record.split == "train"]
    said = {tuple(turn.text for turn in record.turns if turn.role == "assistant") for record in train}
    taught = set()
    for number in range(len(train)):
        lesson = teach(number)
        assert lesson is not None
        taught.add(tuple(message.text for message in lesson.messages if message.role is Role.ASSISTANT))
        assert all(view.picture.pixels_H_W_3.size for message in lesson.messages for view in message.views)
    assert taught == said  # each once an epoch


def test_a_set_for_another_model_is_refused(phantoms):
    with pytest.raises(WrongInput, match="written for another model"):
        teach_by_sets([str(phantoms)], CARDS["qwen3_vl"], seed=0)


def test_recordings_captions_questions_and_both_chains(suite):
    finished = open_set(suite)
    assert validate_set(finished) == []
    assert set(finished.manifest["kinds"]) == {"caption", "question", "cot", "visual_cot"}
    stats = compute_stats(finished)
    assert stats.drafted == stats.kept + stats.rejected.total()
    for record in finished.read():
        if record.kind == "visual_cot":
            posed = pose_record(record, suite)
            assert record.difficulty == "challenging"
            assert record.answer in (posed.key.text, posed.key.kind.value)


def test_captions_cover_the_recording_without_a_gap():
    procedure = draw_procedure(3, ProcedureRecipe(least_s=120, most_s=120))
    clips = list(caption_procedure(procedure))
    assert clips[0].start_s == 0.0
    assert clips[-1].end_s == pytest.approx(procedure.duration_s)
    assert all(one.end_s == pytest.approx(two.start_s) for one, two in itertools.pairwise(clips))
    assert all(one.caption != two.caption for one, two in itertools.pairwise(clips))
    for event in procedure.events:
        told = [clip for clip in clips if clip.start_s <= (event.start_s + event.end_s) / 2 < clip.end_s]
        assert event.instrument.value in told[0].caption


def test_a_drawn_picture_is_the_same_by_its_name():
    name = name_phantom(7, Needle.L1)
    one, two = open_drawn(name), open_drawn(name)
    box = (0.0, 0.0, *map(float, one.header.size_wh))
    assert np.array_equal(one.source.read(box, (64, 64)), two.source.read(box, (64, 64)))
    for wrong in (
        "drawn:phantom?seed=x&needle=L1",
        "drawn:phantom?seed=1&needle=L9",
        "drawn:procedure?seed=1",
        "drawn:",
    ):
        with pytest.raises(WrongInput, match="names nothing"):
            open_drawn(wrong)


def test_encoded_media_are_files(tmp_path):
    build(tmp_path / "set", "phantom_image", limit=3, encode=True)
    finished = open_set(tmp_path / "set")
    assert validate_set(finished) == []
    for record in finished.read():
        assert record.images
        assert (tmp_path / "set" / record.media_paths[0]).is_file()


def test_episodes_about_pictures_are_judged_by_their_masks(tmp_path):
    source = write_mask_folders(tmp_path / "source", 4)
    build(tmp_path / "set", "picture_trajectories", source, limit=2)
    stats = compute_stats(open_set(tmp_path / "set"))
    assert stats.rejected.total() > 0  # noise with boxes drawn on it: the segmenter is mostly wrong
    assert stats.drafted == stats.kept + stats.rejected.total()
    assert all(stage in ("accept", "set") for stage, _ in stats.rejected)


@pytest.mark.parametrize("said", ["zzz", "cannot tell", "yes", "7"])
def test_a_guess_is_not_kept(phantoms, said):
    record = next(one for one in open_set(phantoms).read() if one.kind == "visual_cot" and one.answer != said)
    posed = pose_record(record, phantoms)
    guess = ScriptedModel([f"<think>I guess.</think><answer>{said}</answer>"] * 9, CARDS["nano"])
    outcome = collect_episode(posed.case, guess, build_setup(posed.case, guess, None), session="s")
    assert isinstance(judge_episode(posed, outcome), Rejected)


@pytest.mark.parametrize("form", ["sharegpt", "openai"])
def test_forms_of_messages(phantoms, tmp_path, form):
    count = export_set(open_set(phantoms), form, tmp_path / "out")
    lines = [json.loads(line) for path in (tmp_path / "out").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len(lines) == count == len(read_lines(phantoms))
    for line in lines:
        if form == "sharegpt":
            assert sum(turn["value"].count("<image>") for turn in line["conversations"]) == len(line["images"])
        else:
            parts = [part for turn in line["messages"] for part in turn["content"] if isinstance(part, dict)]
            urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
            assert urls
            assert all((phantoms / url).is_file() for url in urls)


def test_datasets_reads_parquet_with_pictures(phantoms, tmp_path):
    pytest.importorskip("pyarrow")
    datasets = pytest.importorskip("datasets")
    count = export_set(open_set(phantoms), "parquet", tmp_path / "out")
    read = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sum(len(part) for part in read.values()) == count
    row = read["train"][0]
    assert row["images"][0].size[0] > 10  # decoded by the features of the file
    assert row["turns"][0]["role"] == "system"


def test_datasets_reads_the_shards_themselves(phantoms, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = {split: str(phantoms / f"{split}-*.jsonl") for split in open_set(phantoms).manifest["splits"]}
    read = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert sum(len(part) for part in read.values()) == len(read_lines(phantoms))


def test_a_cluster_makes_the_same_set(tmp_path):
    pytest.importorskip("ray")
    from ophiscope.data.ray_crew import RayCrew

    source = write_mask_folders(tmp_path / "source", 4)
    build(tmp_path / "one", "picture_vqa", source)
    options = BuildOptions(recipe="picture_vqa", source=str(source))
    crew = RayCrew("local", make_plan, options, tmp_path / "two", workers=1)
    build_set(make_plan, options, tmp_path / "two", crew=crew)
    assert read_lines(tmp_path / "one") == read_lines(tmp_path / "two")


def test_the_card_draws_evidence_on_what_is_drawn(phantoms, suite):
    page = render_card(open_set(phantoms))
    assert page.count('class="region"') >= 3
    assert "<script" not in page
    assert 'class="time"' in render_card(open_set(suite))
