"""Small annotated sources, and sets built of them, for tests of the data engine."""

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image

from ophiscope.data.build import BuildReport, build_set
from ophiscope.data.plan import BuildOptions
from ophiscope.recipes.sets.registry import make_plan


def draw_blob(side: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """A mask with one filled box."""
    mask = np.zeros((side, side), np.bool_)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def write_mask_folders(root: Path, count: int = 6, *, side: int = 48, seed: int = 0) -> Path:
    """``images/`` and ``masks/TARGET/``: each picture its own noise, a polyp, and in every second one an ulcer."""
    rng = np.random.default_rng(seed)
    for target in ("polyp", "ulcer"):
        (root / "masks" / target).mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    for number in range(count):
        noise = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(root / "images" / f"p{number}.png")
        Image.fromarray(draw_blob(side, (4, 6, 20, 18))).save(root / "masks" / "polyp" / f"p{number}.png")
        if number % 2 == 0:
            Image.fromarray(draw_blob(side, (30, 30, 40, 44))).save(root / "masks" / "ulcer" / f"p{number}.png")
    return root


def write_video(path: Path, *, seconds: int, frames_per_s: int, size_wh: tuple[int, int]) -> None:
    """A small video of changing colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frames_per_s)
        stream.width, stream.height, stream.pix_fmt = *size_wh, "yuv420p"
        for number in range(seconds * frames_per_s):
            shade = np.full((size_wh[1], size_wh[0], 3), (number * 3 % 256, 90, 200 - number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())


def write_segments(path: Path, rows: list[tuple[str, float, float, str]]) -> Path:
    """A CSV of video, start, end and label."""
    lines = ["video,start,end,label", *(f"{video},{start},{end},{label}" for video, start, end, label in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def build(folder: Path, recipe: str, source: Path | str = "", **asked: object) -> BuildReport:
    """Build a set in this process."""
    options = BuildOptions.model_validate({"recipe": recipe, "source": str(source), **asked})
    return build_set(make_plan, options, folder)


def read_lines(folder: Path, pattern: str = "t*-*.jsonl") -> list[dict]:
    """All records of a set as plain values."""
    return [json.loads(line) for path in sorted(folder.glob(pattern)) for line in path.read_text().splitlines()]
