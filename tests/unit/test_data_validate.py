"""``data validate`` passes a sound set and finds ten kinds of damage."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from ophiscope.data.finished import open_set
from ophiscope.data.validate import validate_set
from ophiscope.errors import WrongInput
from set_cases import build, write_mask_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(tmp_path / "set", "picture_vqa", write_mask_folders(tmp_path / "source", 12), license="CC0")
    assert validate_set(open_set(tmp_path / "set")) == []
    return tmp_path / "set"


def _change(folder: Path, change: Callable[[list[dict]], None], shard: str = "train-00000.jsonl") -> None:
    """Change records, and let the manifest believe it."""
    path = folder / shard
    records = [json.loads(line) for line in path.read_text().splitlines()]
    change(records)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    _bless(folder, shard)


def _bless(folder: Path, shard: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(one for one in [*manifest["shards"], manifest["rejected"]] if one["file"] == shard)
    entry["sha256"] = hashlib.sha256((folder / shard).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _medium(folder: Path) -> Path:
    return next((folder / "media").rglob("*.png"))


def _lose_medium(folder):
    _medium(folder).unlink()


def _swap_pixels(folder):
    _medium(folder).write_bytes(b"something else")


def _tell_a_name(folder):
    record = json.loads((folder / "train-00000.jsonl").read_text().splitlines()[0])
    with Image.open(folder / record["media"]) as picture:
        told = PngImagePlugin.PngInfo()
        told.add_text("PatientName", "Jane Doe")
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", pnginfo=told)
    name = f"media/{(digest := hashlib.sha256(buffer.getvalue()).hexdigest())[:2]}/{digest}.png"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(buffer.getvalue())

    def change(records):
        records[0] |= {"media": name, "images": [name]}

    _change(folder, change)


def _lose_shard(folder):
    (folder / "train-00000.jsonl").unlink()


def _edit_shard(folder):
    path = folder / "train-00000.jsonl"
    path.write_text(path.read_text().replace("polyp", "ulcer", 1))


def _tear_line(folder):
    path = folder / "train-00000.jsonl"
    path.write_text(path.read_text()[:-40])
    _bless(folder, "train-00000.jsonl")


def _repeat_id(folder):
    _change(folder, lambda records: records[1].update(id=records[0]["id"]))


def _cross_split(folder):
    def change(records):
        records[0]["split"] = "test"

    _change(folder, change)


def _answer_outside(folder):
    def change(records):
        next(record for record in records if record.get("options"))["answer"] = "somewhere else"

    _change(folder, change)


def _lose_mask(folder):
    def change(records):
        del next(record for record in records if record["answer"] == "mask")["mask"]

    _change(folder, change)


def _smaller_mask(folder):
    buffer = io.BytesIO()
    Image.new("1", (10, 10), 1).save(buffer, "PNG")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = folder / "media" / digest[:2] / f"{digest}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(buffer.getvalue())

    def change(records):
        next(record for record in records if record["answer"] == "mask")["mask"] = f"media/{digest[:2]}/{digest}.png"

    _change(folder, change)


def _reach_out(folder):
    _change(folder, lambda records: records[0].update(media="../../etc/passwd"))


def _hide_license(folder):
    _change(folder, lambda records: records[0]["origin"].update(license="CC BY-NC 4.0"))


def _miscount(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["records"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _reverse_window(folder):
    _change(folder, lambda records: records[0].update(interval_s=[5, 2], duration_s=10))


def _lose_placeholder(folder):
    def change(records):
        records[0]["turns"] = [{"role": "user", "text": "look", "images": [records[0]["media"]]}]

    _change(folder, change)


DAMAGES = {
    "a medium is missing": (_lose_medium, "is not there"),
    "a medium holds something else": (_swap_pixels, "does not hold what its name says"),
    "a medium names a person": (_tell_a_name, "tells more than pixels: PatientName"),
    "a shard is missing": (_lose_shard, "is not there"),
    "a shard was edited": (_edit_shard, "its hash differs"),
    "a line is torn": (_tear_line, "no record"),
    "an id stands twice": (_repeat_id, "stands twice"),
    "a subject is on both sides": (_cross_split, "both sides of the split"),
    "an answer is no option": (_answer_outside, "none of the options"),
    "a mask is lost": (_lose_mask, "the answer is a mask, and there is none"),
    "a mask is of another size": (_smaller_mask, "pixels for a picture of"),
    "a path leads outside": (_reach_out, "is no file of the set"),
    "a licence is hidden": (_hide_license, "forbid commercial use"),
    "the manifest miscounts": (_miscount, "the manifest counts"),
    "evidence is reversed": (_reverse_window, "reversed or outside"),
    "a picture has no place in its turn": (_lose_placeholder, "placeholders"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(folder, name):
    damage, said = DAMAGES[name]
    damage(folder)
    found = validate_set(open_set(folder))
    assert any(said in finding for finding in found), found


def test_no_set_and_no_finished_set(tmp_path):
    with pytest.raises(WrongInput, match="holds no set"):
        open_set(tmp_path)
    (tmp_path / "build.json").write_text("{}")
    with pytest.raises(WrongInput, match="not finished"):
        open_set(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "ophiscope-set/9"}')
    with pytest.raises(WrongInput, match="ophiscope-set/9"):
        open_set(tmp_path)
