"""``ophiscope inspect``: what a file is and what of it would be shown, before anything is asked."""

from dataclasses import dataclass

from ophiscope.apps.terminal import DISCLAIMER, print_json, print_lines
from ophiscope.core.axis import AxisName
from ophiscope.core.study import AxisSpan, StudyHeader, StudyKind
from ophiscope.core.volume import SliceChoice, parse_slice
from ophiscope.errors import MediaCode, MediaRejected, WrongInput
from ophiscope.media.masks import MaskSet
from ophiscope.media.study import read_masks, read_study

__all__ = ["InspectArguments", "parse_slice_option", "run_inspect"]


@dataclass(frozen=True, slots=True)
class InspectArguments:
    """What the command line gave."""

    media: str
    frame: int | None
    slice_at: str | None
    series: int | None
    fps: float | None
    json: bool

    @property
    def chooses(self) -> bool:
        """Whether something of the file was chosen."""
        return any(one is not None for one in (self.frame, self.slice_at, self.series, self.fps))


def run_inspect(arguments: InspectArguments) -> int:
    """Read, print, and give the exit code 0, also where nothing was chosen yet: then it says among what.

    Raises:
        WrongInput: If the file cannot be read, or has not what was chosen.
    """
    header, needs, masks = None, None, None
    try:
        slice_at = parse_slice_option(arguments.slice_at)
        study = read_study(
            arguments.media, frame=arguments.frame, slice_at=slice_at, series=arguments.series, fps=arguments.fps
        )
        header = study.header
    except MediaRejected as refusal:
        if refusal.code is MediaCode.NEEDS_SELECTION and not arguments.chooses:
            needs = refusal.nameless.partition(": ")[2]
        elif refusal.code is MediaCode.MASKS:
            masks = read_masks(arguments.media)
        else:
            raise
    if arguments.json:
        found = None if masks is None else [segment._asdict() for segment in masks.segments]
        print_json({"header": header and header.model_dump(mode="json"), "needs": needs, "masks": found})
    elif header is not None:
        print_lines(*render_header_lines(header))
    else:
        print_lines(*(_render_mask_lines(masks) if masks is not None else [f"Several pictures: {needs}."]))
    return 0


def _render_mask_lines(masks: MaskSet) -> list[str]:
    where = "" if masks.grid is None else f" on a grid of {'x'.join(map(str, masks.grid.size_ijk))} voxels"
    lines = [f"application/dicom: masks of {len(masks.segments)} segment(s) in {len(masks.frames)} frame(s){where}"]
    for segment in masks.segments:
        pixels = sum(int(frame.mask_H_W.sum()) for frame in masks.frames if frame.segment == segment.number)
        made = "by a program" if segment.automatic else "with a person's hand"
        lines.append(f"  {segment.number}: {segment.label} ({segment.code or 'no code'}), {pixels} pixels, {made}")
    return [*lines, *(f"  Note: {note}" for note in masks.notes), DISCLAIMER]


def parse_slice_option(text: str | None) -> SliceChoice | None:
    """``--slice``.

    Raises:
        WrongInput: If it is none.
    """
    try:
        return None if text is None else parse_slice(text)
    except ValueError as error:
        raise WrongInput(f"--slice {error}") from error


def _render_span(span: AxisSpan) -> str:
    if span.axis is AxisName.TIME:
        return f"{span.pictures} frames from {span.start:g} to {span.end:.3f} s"
    return f"{span.pictures} {span.axis} slices from {span.start:.1f} to {span.end:.1f} mm (LPS)"


def render_header_lines(header: StudyHeader) -> list[str]:
    """A study for a person."""
    w, h = header.size_wh
    colour = "colour" if header.channels == 3 else f"grey, {header.bits_stored} bits"
    modality = f", {header.modality}" if header.modality else ""
    kind = "" if header.kind is StudyKind.IMAGE else f" {header.kind}"
    lines = [f"{header.media_type}{modality}{kind}: {w}x{h}, {colour}"]
    lines += [f"  {_render_span(span)}" for span in header.axes]
    lines += ["  DEGRADED: the file contradicts itself, as the notes say"] if header.integrity else []
    if header.spacing_mm is not None:
        x, y = header.spacing_mm
        lines.append(f"  a pixel is {x:.4g} x {y:.4g} mm")
    if header.channels == 1:
        low, high = header.value_range
        lines.append(f"  values {low:g} to {high:g}")
        if header.default_window is not None:
            lines.append(f"  window: center {header.default_window.center:g}, width {header.default_window.width:g}")
    return [*lines, *(f"  Note: {note}" for note in header.notes), f"  id {header.root}", DISCLAIMER]
