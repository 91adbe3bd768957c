"""How fast sets are made, on one core: template questions without drawing, episodes of an oracle with zooms alone,
and episodes with ``nano-seg`` beside that segmenter called alone in batches.

Run: ``python benchmarks/bench_data.py [--data ../shared/data/seg_pack]``
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np

from ophiscope.agent.assemble import build_segmenter
from ophiscope.data.media_store import MediaStore
from ophiscope.data.picture_facts import PictureFacts, RegionFacts
from ophiscope.data.picture_questions import write_picture_questions
from ophiscope.data.plan import BuildOptions
from ophiscope.data.record import render_line
from ophiscope.data.sources.pictures import list_pictures
from ophiscope.media.study import read_study
from ophiscope.recipes.sets.pictures import build_record, open_picture
from ophiscope.recipes.sets.registry import make_plan


def time_templates(seconds: float = 4.0) -> float:
    """Records a second from facts, as lines of JSON."""
    rng = np.random.default_rng(0)
    options = BuildOptions(recipe="picture_vqa")
    given = list_pictures(_write_one(Path(tempfile.mkdtemp())))[0]
    opened = open_picture(given, MediaStore(Path(tempfile.mkdtemp())))
    made, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        boxes = rng.integers(0, 200, (3, 2))
        regions = tuple(
            RegionFacts(name, (int(x), int(y), int(x) + 40, int(y) + 30), 1000, (x + 20.0, y + 15.0), (40.0, 30.0), "m")
            for name, (x, y) in zip(("polyp", "ulcer", "clip"), boxes, strict=True)
        )
        facts = PictureFacts((256, 256), regions, ("fracture", "hernia"), "endoscopy", "colon")
        for drafted in write_picture_questions(facts, random.Random(made)):
            render_line(build_record(opened, drafted, options))
            made += 1
    return made / (time.perf_counter() - began)


def _write_one(root: Path) -> Path:
    from PIL import Image

    (root / "images").mkdir()
    (root / "masks").mkdir()
    Image.new("RGB", (64, 64), (90, 40, 30)).save(root / "images" / "a.png")
    Image.new("1", (64, 64), 1).save(root / "masks" / "a.png")
    return root


def time_items(recipe: str, source: str, count: int) -> tuple[float, float]:
    """Items and records a second of a recipe, one process."""
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(BuildOptions(recipe=recipe, source=source, limit=10_000), Path(folder))
        plan.make(0)
        began, records = time.perf_counter(), 0
        for item in range(1, count + 1):
            produced = plan.make(item)
            records += len(produced.records) + len(produced.rejected)
        seconds = time.perf_counter() - began
    return count / seconds, records / seconds


def time_segmenter(source: str, count: int) -> tuple[float, float]:
    """Calls of ``nano-seg`` a second in episodes, and alone on the same pictures and targets, item by item in turns."""
    segmenter = build_segmenter("nano-seg")
    pictures, inside, alone, calls = list_pictures(Path(source)), 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(BuildOptions(recipe="seg_pack_trajectories", source=source), Path(folder))
        for item in range(count):
            began = time.perf_counter()
            produced = plan.make(item)
            inside += time.perf_counter() - began
            asked = [*produced.records, *(one.record for one in produced.rejected if one.record is not None)]
            targets = [record.target for record in asked if record.target in (segmenter.targets or ())]
            calls += len(targets)
            pixels = np.asarray(read_study(pictures[item].path).source.read_root(), dtype=np.uint8)
            shown = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
            began = time.perf_counter()
            for target in targets:
                segmenter.predict(shown, box_xyxy=None, target=target)
            alone += time.perf_counter() - began
    return calls / inside, calls / alone


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/seg_pack")
    parser.add_argument("-n", type=int, default=60)
    args = parser.parse_args()
    print(f"template questions: {time_templates():,.0f} records a second (aim 2,000)")
    items, _ = time_items("phantom_image", "", 4 * args.n)
    print(f"oracle episodes on drawn pictures: {items:.1f} a second (aim 15)")
    items, records = time_items("phantom_video_suite", "", args.n)
    print(f"drawn recordings: {items:.1f} a second, {records:.0f} records")
    if Path(args.data).exists():
        episodes, alone = time_segmenter(args.data, max(6, args.n // 6))
        print(f"calls of nano-seg in episodes / alone: {episodes:.1f} / {alone:.1f} a second: {episodes / alone:.2f}")


if __name__ == "__main__":
    main()
