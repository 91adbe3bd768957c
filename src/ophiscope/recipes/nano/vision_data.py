"""Views of phantoms and of real pictures with dense labels, one label vector for each visual token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame, compute_zoom_frame
from ophiscope.core.region import clip_box
from ophiscope.core.window import Window
from ophiscope.data.seg_pack import Annotation, SegRow
from ophiscope.media.render import compute_display
from ophiscope.media.resample import resample
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.percepts import LEAST_RADIUS_PX, is_fine_enough, is_resolved
from ophiscope.worlds.render import PhantomSource, compute_rho
from ophiscope.worlds.world import Detail, Lesion, Look, World

__all__ = [
    "DETAILS",
    "MODALITIES",
    "ORGANS",
    "POLICY",
    "REAL_TARGETS",
    "SPOT_CELLS",
    "DenseView",
    "draw_dense_views",
    "draw_real_views",
]

POLICY = ViewPolicy(patch_px=16, max_view_px=96 * 96, min_view_px=96 * 96)
ORGANS = (
    "", "body", "right lung", "left lung", "heart", "spine", "liver", "spleen", "right kidney", "left kidney",
    "skull", "brain", "right ventricle", "left ventricle", "tissue", "gland", "muscle", "mucosa", "lumen", "fold",
)  # fmt: skip
DETAILS = ("", "unresolved", "smooth", "striped", "dotted", "ringed", "hazy", "spiculated", "1", "2", "3", "4", "cyst")
MODALITIES = (
    "CT", "MRI", "X-Ray", "ultrasound", "endoscopy", "dermoscopy", "fundus", "electron microscopy",
    "brightfield microscopy", "fluorescence microscopy", "pathology",
)  # fmt: skip
REAL_TARGETS = ("polyp", "breast tumor", "skin lesion", "nuclei", "cell membrane", "retinal vessels", "lung")
SPOT_CELLS = 8
"""Cells along a side of a token."""
_CELL_PX = POLICY.patch_px // SPOT_CELLS
_VIEW_PX, _TOKENS = 96, 6
"""Side of a real view, and visual tokens along it."""
_TILES = 4
"""Pictures along a side of a mosaic."""
_MOSAICS = 0.4
_WITHOUT_COUNT = 0.4
"""Share that is kept of the worlds without calcifications: to count them is what the tower learns last."""
_LOOK_MODALITY = {"CT": 0, "MR": 1, "DX": 2, "US": 3, "ES": 4}
_Corners = tuple[float, float, float, float]
_Maps = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]
"""Detail, centre and box of the lesions seen, by row and column of visual tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseView:
    """One view and what each of its visual tokens covers; ``M`` tokens in row order, -1 where not known."""

    pixels_H_W_3: NDArray[np.uint8]
    organ_M: NDArray[np.int64]
    detail_M: NDArray[np.int64]
    """Also -1 where a lesion is fine enough to be told but cut by the view."""
    centre_M: NDArray[np.float32]
    """1 where a seen lesion has its centre."""
    box_M_4: NDArray[np.float32]
    """Left, top, right, bottom of that lesion, in shares of the view; NaN elsewhere."""
    spot_M_C: NDArray[np.float32]
    """1 at the cells of the token (8 x 8, in row order) that lie on a lesion or cyst, else 0; NaN where not known."""
    dots_M: NDArray[np.float32]
    """Number of calcifications with their centre there; NaN where the view does not resolve them."""
    core_M_C: NDArray[np.float32]
    """1 at the cells of the token that lie on the core of a calcification, else 0; NaN where ``dots_M`` is."""
    cover_M_R: NDArray[np.float32]
    """Share of the token covered by each real target; NaN where not annotated."""
    modality_M: NDArray[np.int64]
    seen: int
    """Number of lesions seen; -1 where not known."""


def draw_dense_views(seed: int) -> Iterator[DenseView]:
    """Endless views of phantoms: overviews, zooms on organs and lesions, other windows; many with a number to count."""
    rng = np.random.default_rng([seed, 5])
    needles = (Needle.PLAIN, Needle.L1, Needle.L2, Needle.L3, Needle.W)
    for index in range(1 << 40):
        needle = needles[int(rng.choice(5, p=(0.15, 0.3, 0.2, 0.2, 0.15)))]
        strange = needle in (Needle.L1, Needle.L3) and index % 4 == 0
        world = draw_world(seed * 1_000_003 + index, Recipe(needle, unfamiliar=strange))
        counted = any(lesion.detail is Detail.CALCIFICATIONS for lesion in world.lesions)
        if not counted and rng.uniform() > _WITHOUT_COUNT:
            continue
        root = Frame("phantom", world.size_wh)
        source = PhantomSource(world)
        for frame in _draw_frames(rng, world, root):
            window = _draw_window(rng, world)
            yield _label(world, frame, window, source)


def _draw_frames(rng: np.random.Generator, world: World, root: Frame) -> list[Frame]:
    frames = [compute_overview_frame(root, POLICY)]
    boxes = [spot.box_xyxy for spot in world.spots]
    for box in (boxes[int(index)] for index in rng.permutation(len(boxes))[:2]):
        frames.append(_zoom(root, _jitter(rng, box, 0.12)))
    if rng.uniform() < 0.6:
        organ = world.organs[int(rng.integers(len(world.organs)))]
        (x, y), (rx, ry) = organ.blob.centre_xy, organ.blob.radii_xy
        frames.append(_zoom(root, _jitter(rng, (x - rx, y - ry, x + rx, y + ry), 0.08)))
    return frames


def _jitter(rng: np.random.Generator, box: _Corners, share: float) -> _Corners:
    """Each edge moved by chance, ``share`` of the box's side being one standard deviation."""
    w, h = box[2] - box[0], box[3] - box[1]
    x0, y0, x1, y1 = (value + rng.normal(0, share) * side for value, side in zip(box, (w, h, w, h), strict=True))
    return x0, y0, x1, y1


def _zoom(root: Frame, box: _Corners) -> Frame:
    """A zoom on ``box``; the overview where the box came out reversed or outside."""
    try:
        return compute_zoom_frame(root, clip_box(root, box).box, POLICY)
    except ValueError:
        return compute_overview_frame(root, POLICY)


def _draw_window(rng: np.random.Generator, world: World) -> Window | None:
    """The default, or another one; where the default hides a lesion, mostly one that shows it."""
    window = world.default_window
    hides = window is not None and any(_is_clipped(lesion.level, window) for lesion in world.lesions)
    if window is None or rng.uniform() < (0.3 if hides else 0.5):
        return window
    low, high = world.levels
    others = [Window((low + high) / 2, high - low)]
    if world.look is Look.CT:
        others = [Window(-600, 1500), Window(40, 400), Window(400, 1800)]
    if hides:
        others = [other for other in others if not _is_clipped(world.lesions[0].level, other)] or others
    return others[int(rng.integers(len(others)))]


def _label(world: World, frame: Frame, window: Window | None, source: PhantomSource) -> DenseView:
    values = source.read(frame.root_box_xyxy, frame.size_wh)
    pixels = values
    if window is not None:
        pixels = np.repeat(compute_display(values.astype(np.float32), window)[:, :, None], 3, axis=2)
    w, h = (side // POLICY.patch_px for side in frame.size_wh)
    xs = frame.origin_xy[0] + (np.arange(w) + 0.5) * POLICY.patch_px * frame.scale_xy[0]
    ys = frame.origin_xy[1] + (np.arange(h) + 0.5) * POLICY.patch_px * frame.scale_xy[1]
    organ = np.zeros((h, w), np.int64)
    for item in world.organs:
        (x, y), (rx, ry) = item.blob.centre_xy, item.blob.radii_xy
        organ[((xs - x) / rx)[None, :] ** 2 + ((ys - y) / ry)[:, None] ** 2 < 1] = ORGANS.index(item.name)
    detail, centre = np.zeros((h, w), np.int64), np.zeros((h, w), np.float32)
    box = np.full((h, w, 4), np.nan, np.float32)
    maps = (detail, centre, box)
    seen = sum(_label_lesion(world, lesion, frame, window, maps=maps) for lesion in world.spots)
    tokens = h * w
    dots_M, core_M_C = _draw_dots(world, frame, window)
    return DenseView(
        pixels_H_W_3=np.asarray(pixels, np.uint8),
        organ_M=organ.reshape(tokens),
        detail_M=detail.reshape(tokens),
        centre_M=centre.reshape(tokens),
        box_M_4=box.reshape(tokens, 4),
        spot_M_C=_draw_spots(world, frame, window),
        dots_M=dots_M,
        core_M_C=core_M_C,
        cover_M_R=np.full((tokens, len(REAL_TARGETS)), np.nan, np.float32),
        modality_M=np.full(tokens, -1 if world.code else _LOOK_MODALITY[world.look.value]),
        seen=seen,
    )


def _label_lesion(world: World, lesion: Lesion, frame: Frame, window: Window | None, *, maps: _Maps) -> bool:
    """Write one lesion into ``maps``; False where the view does not show it."""
    detail, centre, box = maps
    scale = max(frame.scale_xy)
    if min(lesion.blob.radii_xy) / scale < LEAST_RADIUS_PX or _is_clipped(lesion.level, window):
        return False
    (ox, oy), (sx, sy), (w, h) = frame.origin_xy, frame.scale_xy, frame.size_wh
    x0, y0, x1, y1 = lesion.box_xyxy
    place = ((x0 - ox) / sx / w, (y0 - oy) / sy / h, (x1 - ox) / sx / w, (y1 - oy) / sy / h)
    rows, columns = centre.shape
    column, row = int((place[0] + place[2]) / 2 * columns // 1), int((place[1] + place[3]) / 2 * rows // 1)
    if not (0 <= column < columns and 0 <= row < rows):
        return False
    centre[row, column] = 1.0
    covered_x = (np.arange(columns) + 0.5) / columns
    covered_y = (np.arange(rows) + 0.5) / rows
    inside = ((covered_y > place[1]) & (covered_y < place[3]))[:, None] & (
        (covered_x > place[0]) & (covered_x < place[2])
    )
    inside[row, column] = True
    fine_enough = is_fine_enough(lesion, frame)
    said = DETAILS.index(lesion.answer if fine_enough else "unresolved")
    detail[inside] = said if is_resolved(lesion, frame) or not fine_enough else -1
    box[inside] = np.clip(place, 0.0, 1.0)
    return True


def _draw_spots(world: World, frame: Frame, window: Window | None) -> NDArray[np.float32]:
    """Which cells of each token lie on a spot that the window shows: the tower's finest idea of where something is."""
    x_1_W, y_H_1 = _find_cells(frame)
    covered = np.zeros((len(y_H_1), x_1_W.shape[1]), np.float32)
    for spot in world.spots:
        if not _is_clipped(spot.level, window):
            covered[compute_rho(spot.blob, x_1_W, y_H_1) < 1.0] = 1.0
    return _group_cells(covered)


def _draw_dots(world: World, frame: Frame, window: Window | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How many calcifications each token holds, and which of its cells lie on the core of one."""
    x_1_W, y_H_1 = _find_cells(frame)
    covered = np.zeros((len(y_H_1), x_1_W.shape[1]), np.float32)
    centres, unresolved = np.zeros_like(covered), np.zeros_like(covered)
    for lesion in world.lesions:
        if lesion.detail is not Detail.CALCIFICATIONS or _is_clipped(lesion.level, window):
            continue
        resolved = is_fine_enough(lesion, frame)
        for x, y in lesion.dots_root_xy:
            right, below = (x_1_W - x) / frame.scale_xy[0], (y_H_1 - y) / frame.scale_xy[1]
            half = _CELL_PX / 2
            holds = (-half < right) & (right <= half) & (-half < below) & (below <= half)
            centres[holds] += 1.0
            unresolved[holds] += not resolved
            # beyond half the size of a calcification its rim begins, which is darker than what is around
            covered[np.hypot(x_1_W - x, y_H_1 - y) < lesion.fine_px / 2] = 1.0
            covered[holds] = 1.0
    dots_M, core_M_C = _group_cells(centres).sum(1), _group_cells(covered)
    unknown_M = _group_cells(unresolved).any(1)
    dots_M[unknown_M], core_M_C[unknown_M] = np.nan, np.nan
    return dots_M, core_M_C


def _find_cells(frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the middles of the cells of a view lie in the root: x as a row, y as a column."""
    (ox, oy), (sx, sy), (w, h) = frame.origin_xy, frame.scale_xy, frame.size_wh
    xs = ox + (np.arange(w // _CELL_PX) + 0.5) * _CELL_PX * sx
    ys = oy + (np.arange(h // _CELL_PX) + 0.5) * _CELL_PX * sy
    return xs[None, :].astype(np.float32), ys[:, None].astype(np.float32)


def _group_cells(cells_H_W: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cells of a view by token, ``(M, SPOT_CELLS ** 2)``."""
    rows, columns = (side // SPOT_CELLS for side in cells_H_W.shape)
    grouped = cells_H_W.reshape(rows, SPOT_CELLS, columns, SPOT_CELLS).transpose(0, 2, 1, 3)
    return grouped.reshape(rows * columns, -1)


def _is_clipped(level: float, window: Window | None) -> bool:
    return window is not None and not (window.center - window.width / 2 <= level <= window.center + window.width / 2)


def draw_real_views(
    seed: int, rows: list[SegRow], pictures: dict[str, NDArray[np.uint8]], masks: dict[str, NDArray[np.bool_]]
) -> Iterator[DenseView]:
    """Endless crops of real training pictures, labelled by their human masks, and mosaics of them, by modality."""
    rng = np.random.default_rng([seed, 6])
    by_image: dict[str, list[SegRow]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    groups: dict[str, list[str]] = {}
    for image, members in by_image.items():
        groups.setdefault(members[0].modality, []).append(image)
    names = sorted(groups)
    weight = np.sqrt([len(groups[name]) for name in names])

    def draw() -> str:
        members = groups[names[int(rng.choice(len(names), p=weight / weight.sum()))]]
        return members[int(rng.integers(len(members)))]

    while True:
        if rng.uniform() < _MOSAICS:
            chosen = [draw() for _ in range(_TILES**2)]
            yield _label_mosaic([pictures[name] for name in chosen], [by_image[name][0].modality for name in chosen])
        else:
            image = draw()
            yield _label_real(rng, by_image[image], pictures[image], masks)


def _label_mosaic(pictures: Sequence[NDArray[np.uint8]], modalities: Sequence[str]) -> DenseView:
    """The overview of a mosaic; a token that lies on the border of two tiles has no modality."""
    side = _VIEW_PX // _TILES
    pixels = np.empty((_VIEW_PX, _VIEW_PX, 3), np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, _TILES)
        tile = _resize(picture, (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0])), (side, side))
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side] = np.clip(np.rint(tile), 0, 255)
    places = np.arange(_TOKENS) * POLICY.patch_px
    inside = places % side <= side - POLICY.patch_px
    tiles = places // side
    known = inside[:, None] & inside[None, :]
    labels = np.asarray([MODALITIES.index(name) for name in modalities])[tiles[:, None] * _TILES + tiles[None, :]]
    return _unlabelled(pixels, modality_M=np.where(known, labels, -1).reshape(-1))


def _label_real(
    rng: np.random.Generator, rows: list[SegRow], picture: NDArray[np.uint8], masks: dict[str, NDArray[np.bool_]]
) -> DenseView:
    height, width = picture.shape[:2]
    side = rng.uniform(0.45, 1.0) * min(width, height) if rng.uniform() < 0.6 else float(min(width, height))
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    crop = (left, top, left + side, top + side)
    pixels = _resize(picture, crop, (96, 96))
    pixels = np.clip((pixels - 128) * rng.uniform(0.8, 1.2) + 128 + rng.normal(0, 10) + rng.normal(0, 4, 3), 0, 255)
    cover = np.full((96, 96, len(REAL_TARGETS)), np.nan, np.float32)
    for row in rows:
        if row.target in REAL_TARGETS and row.annotation is Annotation.HUMAN:
            cover[:, :, REAL_TARGETS.index(row.target)] = (
                _resize(masks[row.mask].astype(np.uint8) * 255, crop, (96, 96)) / 255.0
            )
    if rng.uniform() < 0.5:
        pixels, cover = pixels[:, ::-1], cover[:, ::-1]
    if rng.uniform() < 0.5:
        pixels, cover = pixels[::-1], cover[::-1]
    blank = _unlabelled(
        np.ascontiguousarray(pixels).astype(np.uint8),
        modality_M=np.full(_TOKENS**2, MODALITIES.index(rows[0].modality)),
    )
    return replace(blank, cover_M_R=cover.reshape(6, 16, 6, 16, -1).mean(axis=(1, 3)).reshape(36, -1))


def _unlabelled(pixels: NDArray[np.uint8], *, modality_M: NDArray[np.int64]) -> DenseView:
    """A real view of which the modality alone is known."""
    tokens = _TOKENS**2
    return DenseView(
        pixels_H_W_3=pixels,
        organ_M=np.full(tokens, -1),
        detail_M=np.full(tokens, -1),
        centre_M=np.full(tokens, np.nan, np.float32),
        box_M_4=np.full((tokens, 4), np.nan, np.float32),
        spot_M_C=np.full((tokens, SPOT_CELLS**2), np.nan, np.float32),
        dots_M=np.full(tokens, np.nan, np.float32),
        core_M_C=np.full((tokens, SPOT_CELLS**2), np.nan, np.float32),
        cover_M_R=np.full((tokens, len(REAL_TARGETS)), np.nan, np.float32),
        modality_M=modality_M,
        seen=-1,
    )


def _resize(picture: NDArray[np.uint8], box: _Corners, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    return resample(picture, box, size_wh).astype(np.float32)
