"""``ophiscope data`` as a user types it."""

import json

import pytest

from cli_runs import run_cli
from set_cases import write_mask_folders, write_segments


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    source = write_mask_folders(root / "source")
    done = run_cli(
        "data", "build", "picture_vqa", "--source", source, "--license", "CC0", "--out", root / "set", "--json"
    )
    assert done.returncode == 0, done.stderr
    return root / "set", json.loads(done.stdout)


def test_build_says_what_came_out(built):
    folder, said = built
    assert said["stopped"] == ""
    assert said["records"] > 40
    assert said["items"] == said["done"] == 6
    assert (folder / "manifest.json").is_file()


def test_stats_add_up(built):
    said = json.loads(run_cli("data", "stats", built[0], "--json").stdout)
    assert said["kept"] + said["rejected"] == said["drafted"]
    assert said["kept"] == built[1]["records"]
    text = run_cli("data", "stats", built[0]).stdout
    assert "records drafted" in text


def test_validate_passes_and_fails(built, tmp_path):
    assert run_cli("data", "validate", built[0]).stdout.strip() == "sound"
    medium = next((built[0] / "media").rglob("*.png"))
    content = medium.read_bytes()
    medium.write_bytes(b"x")
    try:
        failed = run_cli("data", "validate", built[0], "--json")
    finally:
        medium.write_bytes(content)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["findings"]
    none = run_cli("data", "validate", tmp_path)
    assert none.returncode == 2
    assert "holds no set" in none.stderr


def test_the_card_is_one_page_that_loads_nothing(built):
    done = run_cli("data", "card", built[0])
    page = (built[0] / "card.html").read_text()
    assert done.stdout.strip().endswith("card.html")
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Research use only; not for diagnosis." in page
    assert page.count("data:image/") > 3
    assert "polyp" in page


def test_sample_and_export(built, tmp_path):
    sampled = json.loads(run_cli("data", "sample", built[0], "-n", "4", "--json").stdout)["records"]
    assert len(sampled) == 4
    assert all(record["question"] for record in sampled)
    assert "  Q " in run_cli("data", "sample", built[0]).stdout
    said = json.loads(run_cli("data", "export", built[0], "sharegpt", "--out", tmp_path / "out", "--json").stdout)
    assert said["records"] == built[1]["records"]
    wrong = run_cli("data", "export", built[0], "xml", "--out", tmp_path / "other")
    assert wrong.returncode == 2
    assert "sharegpt, openai, parquet" in wrong.stderr


def test_a_dry_run_writes_nothing(tmp_path):
    source = write_mask_folders(tmp_path / "source", 3)
    asked = ["--source", source, "--dry-run", "--json"]
    said = json.loads(run_cli("data", "build", "picture_trajectories", *asked, "--limit", "2").stdout)
    assert said["items"] == 2
    assert said["teacher_calls_about"] == 0
    teacher = ["--teacher", "openai:http://127.0.0.1:9/v1#x"]
    said = json.loads(run_cli("data", "build", "picture_trajectories", *asked, *teacher).stdout)
    assert said["teacher_calls_about"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


WRONG = {
    "an unknown recipe": (["seg_pack_vqb", "--out", "x"], "Unknown recipe"),
    "no source": (["picture_vqa", "--out", "x"], "needs --source"),
    "a source that is not there": (["picture_vqa", "--source", "nowhere", "--out", "x"], "is not there"),
    "a source that holds nothing": (["picture_vqa", "--source", ".", "--out", "x"], "Nothing annotated"),
    "no folder": (["phantom_image", "--limit", "1"], "needs --out"),
    "a source of what is drawn": (["phantom_image", "--source", ".", "--out", "x"], "leave --source out"),
    "an unknown card": (["phantom_image", "--card", "gpt", "--out", "x"], "--card"),
    "an unknown segmenter": (["phantom_image", "--segmenter", "best", "--limit", "1", "--out", "x"], "segmenter"),
    "an unknown teacher": (
        ["clinical_video", "--source", "seg.csv", "--teacher", "gpt", "--out", "x"],
        "Unknown model",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line(tmp_path, name):
    write_segments(tmp_path / "seg.csv", [("a", 0, 1, "cut")])
    arguments, said = WRONG[name]
    done = run_cli("data", "build", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_recipes_are_listed():
    listed = run_cli("data", "build").stdout
    for name in (
        "seg_pack_vqa",
        "seg_pack_trajectories",
        "phantom_image",
        "phantom_video_suite",
        "ophnet_grounding",
        "clinical_video",
    ):
        assert f"{name}: " in listed
