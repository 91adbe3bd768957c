"""A whole slide through the command line: asked, zoomed into, outlined, measured, replayed from its file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli_runs import Done
from episode_cases import write_call
from slide_files import build_pyramid, draw_tissue, encode_slide
from stub_openai import StubServer

REPLIES = (
    write_call("zoom_in", view=1, box=[400, 400, 460, 460]),
    write_call("zoom_in", view=2, box=[300, 300, 600, 600]),
    write_call("segment_box", view=3, box=[200, 200, 800, 800]),
    write_call("measure", evidence="E3"),
    "<answer>mask [E3]</answer>",
)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "slide.svs"
    text = "Aperio x |MPP = 0.5"
    levels = build_pyramid(draw_tissue((3000, 2000)), 4)
    path.write_bytes(
        encode_slide(levels, tile=128, compression="jpeg", description=text, compressionargs={"level": 90})
    )
    return path


def test_a_slide_is_asked_and_replayed(slide: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    trace, mask = tmp_path / "trace", tmp_path / "mask.png"
    with StubServer(REPLIES) as stub:
        done = run_here(
            "ask", slide, "Outline it", "--model", stub.model_argument, "--segmenter", "classical",
            "--out", trace, "--mask", mask, "--json",
        )  # fmt: skip
    said = json.loads(done.stdout)
    assert [entry["tool"] for entry in said["evidence"]] == ["zoom_in", "zoom_in", "segment_box"]
    assert said["tool_calls"] == {"attempted": 4, "valid": 4}
    x0, y0, x1, y1 = said["evidence"][2]["box_xyxy"]
    assert 1200 < x0 < x1 < 1400
    assert 800 < y0 < y1 < 930
    assert done.returncode == 1  # the mask of a slide is not written at its size, which is said
    assert not mask.exists()
    assert "is never made" in done.stderr
    assert all(path.stat().st_size < 2_000_000 for path in (trace / "media").iterdir())
    assert run_here("verify", trace).returncode == 0
    moved = slide.rename(slide.with_name("moved.svs"))
    alone = json.loads(run_here("verify", trace, "--replay", "--json").stdout)
    assert "give it with --study" in json.dumps(alone)
    for arguments in (["--study", str(moved)], []):
        if not arguments:
            moved.rename(slide)  # where it was asked about, it is found again
        replayed = run_here("verify", trace, "--replay", *arguments)
        assert replayed.returncode == 0
        assert " 0 different, 0 not replayed" in replayed.stdout
    assert run_here("report", trace, "-o", tmp_path / "page.html").returncode == 0


def test_another_slide_is_not_the_one_of_the_trace(slide: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    trace, other = tmp_path / "trace", tmp_path / "other.svs"
    with StubServer() as stub:
        run_here("ask", slide, "Is it there?", "--model", stub.model_argument, "--out", trace)
    other.write_bytes(slide.read_bytes() + b"\0")
    assert "is no study of this trace" in run_here("verify", trace, "--replay", "--study", other).stderr
