"""compare-segmenters, through the command line."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cli_runs import Done, start_cli, wait_for_lines
from media_files import draw_grey, encode_dicom
from ophiscope.apps import compare_command
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.view import View
from ophiscope.errors import ModelFailed, ToolCode, ToolError
from ophiscope.eval.segment_report import SegmentReport
from ophiscope.media.render import render_picture
from ophiscope.media.study import read_study
from ophiscope.tools.segment_box import SegmentBox, SegmentBoxArguments
from ophiscope.tools.segment_text import SegmentText, SegmentTextArguments
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.tools.tool import Look
from segmenter_runs import BRIGHT, Service, running

RunHere = Callable[..., Done]
BOXES = [(20, 12, 60, 40), (70, 30, 110, 74), (8, 8, 48, 64), (30, 40, 90, 80)]


@dataclass
class Fake:
    """Takes bright pixels from a level on; remembers all that it was given."""

    name: str
    level: int = 128
    targets: tuple[str, ...] | None = ("square",)
    presence: float | None = None
    sight: Sight = NEAR
    fails: Exception | None = None
    weights_sha256: str | None = None
    seen: list[tuple[NDArray[np.uint8], object, object]] = field(default_factory=list)

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        self.seen.append((picture_H_W_3, box_xyxy, target))
        if self.fails is not None:
            raise self.fails
        inside = (picture_H_W_3[:, :, 0] >= self.level).astype(np.float32)
        return Prediction(inside, 0.5, self.presence)


def write_prompts(folder: Path, count: int = 4, **more: object) -> Path:
    """Grey pictures of 128x96, each with a bright square, its box and its mask."""
    lines = []
    for at in range(count):
        x0, y0, x1, y1 = BOXES[at % len(BOXES)]
        pixels = draw_grey((128, 96), seed=at).astype(np.uint8) // 4
        pixels[y0:y1, x0:x1] = 200 + at % 40
        mask = np.zeros((96, 128), np.bool_)
        mask[y0:y1, x0:x1] = True
        Image.fromarray(pixels).save(folder / f"p{at}.png")
        Image.fromarray(mask).save(folder / f"m{at}.png")
        row = {"image": f"p{at}.png", "mask": f"m{at}.png", "box_xyxy": [x0, y0, x1, y1], "target": "square"}
        lines.append(json.dumps(row | more))
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, ...]]:
    """Fakes take the place of named segmenters; gives the arguments that name them."""

    def call(*fakes: Fake) -> tuple[str, ...]:
        named = {fake.name: fake for fake in fakes}
        monkeypatch.setattr(compare_command, "build_segmenter", lambda name, offline: named[name])
        return tuple(part for fake in fakes for part in ("--segmenter", fake.name))

    return call


def read_report(done: Done) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(done.stdout)
    own = {name: report[name] for name in SegmentReport.model_fields}
    SegmentReport.model_validate_json(json.dumps(own))
    return report


def find(report: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    (found,) = [one for one in report["segmenters"] if (one["segmenter"], one["kind"]) == (name, kind)]
    return dict(found)


def test_the_numbers_are_those_of_the_masks(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    right, blind = Fake("right", presence=0.75), Fake("blind", level=255)
    report = read_report(run_here("compare-segmenters", prompts, *use(right, blind), "--json"))
    assert (report["rows"], report["pictures"], report["truth"]) == (4, 4, {"target": 4})
    for kind in ("box", "text"):
        found, lost = find(report, "right", kind), find(report, "blind", kind)
        assert found["dice"]["value"] > 0.97
        assert (found["below_half"], lost["below_half"], lost["dice"]["value"]) == (0.0, 1.0, 0.0)
        assert (found["presence"], lost["outlined_nothing"]) == ({"n": 4, "mean": 0.75, "present": 1.0}, 4)
        assert found["first_s"] > 0 < found["median_s"]
        (pair,) = [one for one in report["pairs"] if (one["a"], one["b"], one["kind"]) == ("right", "blind", kind)]
        assert (pair["n"], pair["disagreement"], pair["apart"], len(pair["worst"])) == (4, 1.0, 1.0, 4)
        assert pair["dice_gain"]["value"] == found["dice"]["value"]
    # of a rectangle the ellipse covers pi/4: Dice 2 pi / (pi + 4)
    ellipse = find(report, "ellipse in the box", "box")
    assert ellipse["dice"]["value"] == pytest.approx(0.88, abs=0.006)
    assert ellipse["median_s"] is None


def test_a_segmenter_sees_what_the_tools_show_it_and_nothing_of_the_truth(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    near, far = Fake("near"), Fake("far", sight=Sight(1, 1024, False))
    assert run_here("compare-segmenters", prompts, *use(near, far), "--limit", "1").returncode == 0
    for asked in (near, far):
        tool = Fake("tool", sight=asked.sight)
        study = read_study(prompts.parent / "p0.png")
        policy = ViewPolicy(8, 96 * 96, 96 * 96)
        view = View(1, render_picture(study, compute_overview_frame(study.frame, policy)))
        look = Look({"S1": study}, {1: view}, {}, {}, policy, tool)
        x0, y0, x1, y1 = BOXES[0]
        sx, sy = view.picture.frame.scale_xy
        box = (x0 / sx, y0 / sy, x1 / sx, y1 / sy)
        SegmentBox().run(SegmentBoxArguments(view=1, box=box), look)
        SegmentText().run(SegmentTextArguments(view=1, target="square"), look)
        for (picture, where, what), (shown, place, name) in zip(asked.seen, tool.seen, strict=True):
            np.testing.assert_array_equal(picture, shown)
            assert what == name
            assert where == (None if place is None else pytest.approx(place, abs=1e-6))


def test_a_target_that_is_said_to_be_absent_has_no_mask(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    empty = np.zeros((96, 128), np.bool_)
    Image.fromarray(empty).save(prompts.parent / "m3.png")
    done = run_here("compare-segmenters", prompts, *use(Fake("sure"), Fake("doubting", presence=0.4)), "--json")
    report = read_report(done)
    assert report["truth"] == {"empty": 1, "target": 3}
    doubting = find(report, "doubting", "text")
    assert (doubting["outlined_nothing"], doubting["right_nothing"], doubting["dice"]["value"]) == (4, 1.0, 0.0)
    assert find(report, "sure", "text")["right_nothing"] == 0.0
    assert find(report, "doubting", "box")["dice"]["value"] > 0.97  # presence decides on text alone
    assert find(report, "doubting", "box")["dice"]["n"] == 3


def test_refusals_stand_apart_from_failures_and_all_failed_is_exit_3(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    picky = Fake("picky", targets=("liver",))
    broken = Fake("broken", fails=RuntimeError("/srv/secret"))
    named = use(Fake("right"), picky)
    report = read_report(run_here("compare-segmenters", prompts, *named, "--json"))
    found = find(report, "picky", "text")
    assert (found["refused"], found["failures"], found["dice"]) == ({"unknown_target": 4}, {}, None)
    for error in (RuntimeError("/srv/secret"), ToolError(ToolCode.TOOL_FAILED, "down")):
        broken.fails = error
        done = run_here("compare-segmenters", prompts, *use(Fake("right"), broken), "--json")
        found = find(read_report(done), "broken", "box")
        assert (done.returncode, found["failures"], found["dice"]["value"]) == (3, {"tool_failed": 4}, 0.0)
        assert "secret" not in done.stdout + done.stderr


def test_a_table_for_a_person(prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere) -> None:
    done = run_here("compare-segmenters", prompts, *use(Fake("right"), Fake("blind", level=255)))
    lines = done.stdout.splitlines()
    (head,) = [line for line in lines if line.startswith("segmenter")]
    for line in (line for line in lines if line.startswith(("right  ", "blind  ", "ellipse"))):
        assert line[head.index("prompt") :].startswith(("box", "text"))
    assert "right - blind" in done.stdout
    assert "4 of 4 rows" in done.stderr


def test_dicom_pictures_go_to_this_machine_only_unless_allowed(
    tmp_path: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    (tmp_path / "ct.dcm").write_bytes(encode_dicom(draw_grey((64, 48), bits=8)))
    away, here = Fake("remote:http://segmenters.example.org"), Fake("here")
    asked = ("compare-segmenters", tmp_path / "ct.dcm", "--box", "8,8,40,30", *use(away, here))
    done = run_here(*asked)
    assert done.returncode == 2
    assert "row 1 comes from DICOM, and the segmenter is on segmenters.example.org" in done.stderr
    assert "--allow-egress" in done.stderr
    assert (away.seen, here.seen) == ([], [])
    assert run_here(*asked, "--allow-egress").returncode == 0
    assert len(away.seen) == 1


def test_a_row_that_was_killed_half_written_is_asked_again_and_no_other(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fakes = Fake("right"), Fake("blind", level=255)
    asked = ("compare-segmenters", prompts, *use(*fakes), "--out", out, "--json")
    whole = read_report(run_here(*asked))
    kept = (out / "rows.jsonl").read_bytes()
    lines = kept.splitlines(keepends=True)
    (out / "rows.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:50])
    fakes[0].seen.clear()
    again = read_report(run_here(*asked))
    assert len(fakes[0].seen) == 2 * 2
    assert (out / "rows.jsonl").read_bytes().startswith(b"".join(lines[:2]))
    assert (out / "rows.jsonl").read_bytes().count(b"\n") == 4
    assert again["pairs"] == whole["pairs"]
    fakes[0].seen.clear()
    assert run_here(*asked).returncode == 0
    assert fakes[0].seen == []
    # neither a path nor a name of a file is kept
    assert b"p0.png" not in kept + (out / "settings.json").read_bytes()


@pytest.mark.parametrize("change", ["weights", "order", "limit", "rows"])
def test_other_settings_are_refused(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere, tmp_path: Path, change: str
) -> None:
    fakes = [Fake("right"), Fake("blind", level=255)]
    asked = ["compare-segmenters", prompts, "--out", tmp_path / "out"]
    assert run_here(*asked, *use(*fakes)).returncode == 0
    if change == "weights":
        fakes[0].weights_sha256 = "ab" * 32
    elif change == "order":
        fakes.reverse()
    elif change == "limit":
        asked += ["--limit", "3"]
    else:
        prompts.write_text(prompts.read_text("utf-8").replace("[20, 12", "[21, 12"), "utf-8")
    done = run_here(*asked, *use(*fakes))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "other settings" in done.stderr


@pytest.mark.parametrize("name", ["settings.json", "rows.jsonl"])
def test_records_that_were_changed_are_refused(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere, tmp_path: Path, name: str
) -> None:
    asked = ("compare-segmenters", prompts, *use(Fake("right"), Fake("blind")), "--out", tmp_path / "out")
    assert run_here(*asked).returncode == 0
    (tmp_path / "out" / name).write_bytes(b'{"row": \xff}\n')
    done = run_here(*asked)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no comparison of this version" in done.stderr
    (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / name).mkdir()
    assert run_here(*asked).returncode == 74


def test_a_folder_that_is_not_ours_is_left_alone(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    named = use(Fake("right"), Fake("blind"))
    done = run_here("compare-segmenters", prompts, *named, "--out", prompts.parent)
    assert done.returncode == 2
    assert "no comparison" in done.stderr
    assert not (prompts.parent / "rows.jsonl").exists()
    assert run_here("compare-segmenters", prompts, *named, "--out", prompts).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--segmenter", "classical"), "two or more"),
        ((), "two or more"),
        (("--segmenter", "classical", "--segmenter", "classical"), "given twice"),
        (("--segmenter", "classical", "--segmenter", "best"), "Unknown segmenter 'best'"),
        (("--segmenter", "classical", "--segmenter", "nano-seg", "--split", "val"), "no row of split"),
        (("--segmenter", "classical", "--segmenter", "nano-seg", "--target", "x"), "targets there: square"),
        (("--segmenter", "classical", "--segmenter", "nano-seg", "--limit", "0"), "--limit 0"),
        (("--segmenter", "classical", "--segmenter", "nano-seg", "--box", "1,2,3,4"), "one image"),
        (("--segmenter", "classical", "--segmenter", "remote:http://127.0.0.1:9", "--offline"), "--offline"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    prompts: Path, run_here: RunHere, arguments: tuple[str, ...], words: str
) -> None:
    done = run_here("compare-segmenters", prompts, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--box x0,y0,x1,y1 or --target"),
        (("--box", "1,2,3"), "is no box"),
        (("--box", "5,5,5,9"), "a pixel wide"),
        (("--box", "100,50,200,90"), "outside"),
        (("--target", "a", "--target", "b"), "one image takes one"),
        (("--target", "a", "--split", "test"), "--split and --limit"),
        (("--box", "5,5,50,50", "--truth", "none.png"), "its mask is no file"),
        (("--box", "5,5,50,50", "--truth", "p1.png"), "its mask is none"),
        (("--box", "5,5,50,50", "--truth", "small.png"), "has 5x5 pixels, its picture 128x96"),
        (("--box", "5,5,50,50", "--truth", "mask.bmp"), "its mask is none"),
    ],
)
def test_one_image_that_cannot_be_used_is_one_line(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere, arguments: tuple[str, ...], words: str
) -> None:
    folder = prompts.parent
    Image.fromarray(np.ones((5, 5), np.bool_)).save(folder / "small.png")
    with Image.open(folder / "m0.png") as mask:
        mask.save(folder / "mask.bmp")
    given = [folder / part if part.endswith((".png", ".bmp")) else part for part in arguments]
    done = run_here("compare-segmenters", folder / "p0.png", *given, *use(Fake("right"), Fake("blind")))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


def test_one_image_with_its_truth(prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere) -> None:
    folder = prompts.parent
    asked = ("--box", "20,12,60,40", "--truth", folder / "m0.png", *use(Fake("right"), Fake("blind", level=255)))
    report = read_report(run_here("compare-segmenters", folder / "p0.png", *asked, "--json"))
    assert (report["rows"], report["truth"]) == (1, {"target": 1})
    assert find(report, "right", "box")["dice"]["value"] > 0.97
    (alone,) = [found for found in report["segmenters"] if found["segmenter"] == "right"]
    assert (alone["median_s"], alone["first_s"] > 0) == (None, True)


def test_a_missing_picture_is_told_before_anything_is_asked(
    prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere
) -> None:
    (prompts.parent / "p3.png").unlink()
    fake = Fake("right")
    done = run_here("compare-segmenters", prompts, *use(fake, Fake("blind")))
    assert (done.returncode, fake.seen) == (2, [])
    assert "Row 4: its image is no file" in done.stderr


def test_a_broken_picture_is_told(prompts: Path, use: Callable[..., tuple[str, ...]], run_here: RunHere) -> None:
    (prompts.parent / "p2.png").write_bytes(b"no picture")
    done = run_here("compare-segmenters", prompts, *use(Fake("right"), Fake("blind")), "--json")
    assert done.returncode == 2
    assert "p2.png: " in done.stderr.splitlines()[-1]
    assert json.loads(done.stdout)["exit_code"] == 2


def test_a_server_that_is_not_there_is_exit_3(
    prompts: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, offline: bool) -> Fake:
        raise ModelFailed("The segmenter's server does not answer.")

    monkeypatch.setattr(compare_command, "build_segmenter", refuse)
    named = ("--segmenter", "remote:http://127.0.0.1:9", "--segmenter", "classical")
    assert run_here("compare-segmenters", prompts, *named).returncode == 3


@pytest.fixture(scope="module")
def slow_service() -> Iterator[Service]:
    """A segmenter that takes its time."""
    with running(BRIGHT, "--slow", "0.1") as service:
        yield service


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, slow_service: Service, run_here: RunHere) -> None:
    pytest.importorskip("skimage.color")  # loaded now: what follows is a race
    pytest.importorskip("skimage.filters")
    count, out = 20, tmp_path / "out"
    prompts = write_prompts(tmp_path, count)
    asked = ("compare-segmenters", prompts, "--segmenter", "classical", "--segmenter", slow_service.name, "--out", out)
    first = start_cli(*asked)
    wait_for_lines(out / "rows.jsonl", 2)
    busy = run_here(*asked)
    assert (busy.returncode, "Another process" in busy.stderr) == (75, True)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=20)
    kept = (out / "rows.jsonl").read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    assert 2 <= kept.count(b"\n") < count
    second = start_cli(*asked)
    wait_for_lines(out / "rows.jsonl", kept.count(b"\n") + 1)
    second.send_signal(signal.SIGINT)
    _, errors = second.communicate(timeout=20)
    assert (second.returncode, "the same goes on" in errors) == (130, True)
    report = read_report(run_here(*asked, "--json"))
    lines = (out / "rows.jsonl").read_bytes()
    assert lines.startswith(kept)
    assert [json.loads(line)["row"] for line in lines.splitlines()] == list(range(1, count + 1))
    remote = find(report, slow_service.name, "text")
    assert (remote["n"], remote["answered"], remote["failures"]) == (count, count, {})
    assert remote["median_s"] > 0.1
    assert find(report, "classical", "text")["refused"] == {"not_applicable": count}
    assert find(report, slow_service.name, "box")["dice"]["value"] > 0.97


def test_a_sam2_checkpoint_is_compared(tmp_path: Path, run_here: RunHere) -> None:
    pytest.importorskip("transformers")
    from sam2_checkpoints import build_small_config, write_random_sam2

    write_random_sam2(tmp_path / "sam2", build_small_config())
    prompts = write_prompts(tmp_path, 2)
    named = ("--segmenter", f"sam2:{tmp_path / 'sam2'}", "--segmenter", "classical")
    report = read_report(run_here("compare-segmenters", prompts, *named, "--offline", "--json"))
    found = find(report, f"sam2:{tmp_path / 'sam2'}", "box")
    assert (found["n"], found["answered"], found["failures"]) == (2, 2, {})
    assert find(report, "classical", "box")["dice"]["value"] > 0.8
