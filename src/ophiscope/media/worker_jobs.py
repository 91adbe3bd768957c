"""What a decoding worker is asked for: a study, or a part of a slide or video that it keeps open."""

import os
import time
from collections import OrderedDict
from typing import Any, BinaryIO

from ophiscope.media.decode import Shelf, decode_mask_file, decode_study
from ophiscope.media.fingerprint import Fingerprint
from ophiscope.media.opened_stack import OpenedStack
from ophiscope.media.slide_file import SlideFile
from ophiscope.media.stack_wire import write_stack_answer
from ophiscope.media.video_file import VideoFile
from ophiscope.media.video_open import OpenedVideo
from ophiscope.media.video_wire import (
    FramesAnswer,
    FramesRequest,
    parse_frames_request,
    write_frames_answer,
    write_video_answer,
)
from ophiscope.media.worker_wire import (
    RegionRequest,
    SlideAnswer,
    parse_masks_request,
    parse_region_request,
    parse_request,
    write_masks_answer,
    write_message,
    write_pixels,
    write_slide_answer,
    write_study_answer,
)

__all__ = ["Jobs"]

_TOLD_EVERY_S = 0.2
_OPEN_VIDEOS = 2
"""Each may hold 192 MiB of frames."""
_OPEN_SLIDES = 2
"""Each may hold 64 MiB of tiles."""


class Jobs:
    """Serves one message after the other.

    Args:
        answers: Where the answers go. A refusal is raised and written by the caller: nothing of an answer is written
            before it is complete.
    """

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._slides: OrderedDict[tuple[Fingerprint, ...], SlideFile] = OrderedDict()
        self._videos: OrderedDict[Fingerprint, VideoFile] = OrderedDict()
        self._shelf = Shelf()
        self._told_s = 0.0

    def serve(self, message: dict[str, Any]) -> None:
        """Do what a message asks for, and answer.

        Raises:
            MediaRejected: If it cannot be done.
        """
        region = parse_region_request(message)
        if region is not None:
            write_pixels(self._answers, self._find_slide(region).read(region.box_xyxy, region.size_wh))
            return
        frames = parse_frames_request(message)
        if frames is not None:
            seen = self._find_video(frames).read(frames.wanted, frames.box_xyxy, frames.size_wh)
            write_frames_answer(self._answers, FramesAnswer(seen[0], tuple(seen[1])))
            return
        masks = parse_masks_request(message)
        if masks is not None:
            write_masks_answer(self._answers, decode_mask_file(os.fsdecode(masks[0]), masks[1]))
            return
        path, request = parse_request(message)
        study = decode_study(os.fsdecode(path), request, self._tell, self._shelf)
        if isinstance(study, OpenedVideo):
            write_video_answer(self._answers, study)
        elif isinstance(study, OpenedStack):
            write_stack_answer(self._answers, study)
        elif isinstance(study.source, SlideFile):
            self._keep(study.source)
            write_slide_answer(self._answers, SlideAnswer(study.header, study.source.paths, study.source.fingerprints))
        else:
            write_study_answer(self._answers, study)

    def _tell(self, share: float) -> None:
        """Say how far a long job has come, now and then; the other side waits longer for it."""
        now_s = time.monotonic()
        if now_s - self._told_s >= _TOLD_EVERY_S:
            self._told_s = now_s
            write_message(self._answers, {"progress": round(share, 4)})

    def _find_video(self, wish: FramesRequest) -> VideoFile:
        kept = self._videos.get(wish.fingerprint)
        if kept is None:
            kept = VideoFile(wish.path, wish.shape, wish.limits, wish.fingerprint)
            self._videos[wish.fingerprint] = kept
            if len(self._videos) > _OPEN_VIDEOS:
                self._videos.popitem(last=False)[1].close()
        self._videos.move_to_end(wish.fingerprint)
        return kept

    def _find_slide(self, region: RegionRequest) -> SlideFile:
        kept = self._slides.get(region.fingerprints)
        if kept is not None and kept.fingerprints == region.fingerprints:
            self._slides.move_to_end(region.fingerprints)
            return kept
        return self._keep(SlideFile(region.paths, region.limits, region.fingerprints))

    def _keep(self, slide: SlideFile) -> SlideFile:
        replaced = self._slides.pop(slide.fingerprints, None)
        self._slides[slide.fingerprints] = slide
        if replaced is None and len(self._slides) > _OPEN_SLIDES:
            replaced = self._slides.popitem(last=False)[1]
        if replaced is not None:
            replaced.close()
        return slide
