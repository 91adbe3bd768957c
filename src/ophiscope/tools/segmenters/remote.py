"""remote: any segmenter behind HTTP, as docs/segmenter-http.md says (BiomedParse, MedSAM2, SAM 3, TotalSegmentator).

The server has its own environment, so nothing of it is in ours; and nothing of what it says is believed before it was
checked (:mod:`~ophiscope.tools.segmenters.remote_wire`). Whatever goes wrong ends in a ``ToolError`` within one
deadline, with a text that holds no address and no word of the server's but plain ones.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import ModelFailed, ToolCode, ToolError, WrongInput
from ophiscope.media.png import encode_picture_png
from ophiscope.net.address import SEGMENTER_SERVER
from ophiscope.net.transport import Breaker, Link, LinkLimits, Refused, build_headers, build_tls
from ophiscope.tools.arguments import render_value
from ophiscope.tools.segmenters.remote_address import SegmenterAddress
from ophiscope.tools.segmenters.remote_wire import (
    Asked,
    Health,
    Problem,
    clean_names,
    clean_words,
    compute_request_sha256,
    parse_answer,
    parse_health,
    render_request,
)
from ophiscope.tools.segmenters.segmenter import Prediction, Sight
from ophiscope.tools.segmenters.vocabulary import resolve_target

__all__ = ["REMOTE_LIMITS", "Remote"]

REMOTE_LIMITS = LinkLimits(deadline_s=30.0, max_tries=4, connect_tries=3, first_wait_s=0.25, longest_wait_s=5.0)
"""8 MiB for a reply: the largest picture that is sent gives below 2 MB of answer, and JSON grows when it is read."""
_HEALTH_S = 5.0
_MOST_SIDE_PX = 1024
_MOST_TARGET_CHARS = 200


class Remote:
    """A segmenter behind a server; its health is asked when it is made.

    Args:
        address: Where it is.
        api_key: Sent as a bearer token; appears in no error or ``repr``.
        limits: Deadline, tries and sizes of one call.
        offline: True forbids any socket: the segmenter cannot be made.
        clock: Monotonic seconds.

    Raises:
        WrongInput: If ``offline``, or the key cannot stand in a header.
        ModelFailed: If the server gives no health of this contract within 5 s.
    """

    def __init__(
        self,
        address: SegmenterAddress,
        *,
        api_key: str | None = None,
        limits: LinkLimits = REMOTE_LIMITS,
        offline: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if offline:
            raise WrongInput(
                "--offline forbids a segmenter behind a server; nano-seg and classical work without a network."
            )
        self._address = address
        self._breaker = Breaker(limits, clock, SEGMENTER_SERVER)
        self._link = Link(
            address.segment_url,
            build_headers(api_key),
            limits,
            build_tls(address.base_url),
            environment=not address.loopback,
            peer=SEGMENTER_SERVER,
            clock=clock,
        )
        self._health = self._ask_health()

    def __repr__(self) -> str:
        return f"Remote({self.name!r})"

    @property
    def name(self) -> str:
        """As given on the command line."""
        return self._address.name

    @property
    def health(self) -> Health:
        """What the server said that it is."""
        return self._health

    @property
    def weights_sha256(self) -> str | None:
        """Hash of its weights; every answer repeats it."""
        return self._health.weights_sha256

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Its closed vocabulary; None where any text is understood, empty where text is not served."""
        return self._health.targets if "text" in self._health.prompts else ()

    @property
    def sight(self) -> Sight:
        """All of the view, as its pixels are: the server knows best how to enlarge, and what to look at."""
        most_px = min(_MOST_SIDE_PX, math.isqrt(self._health.limits.pixels))
        return Sight(least_px=1, most_px=most_px, around_box=False)

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """See :meth:`ophiscope.tools.segmenters.segmenter.Segmenter.predict`.

        Raises:
            ToolError: ``UNKNOWN_TARGET`` or ``NOT_APPLICABLE`` where the prompt is not served, else ``TOOL_FAILED``.
        """
        known = self._check_prompt(box_xyxy, target)
        height, width = picture_H_W_3.shape[:2]
        body = render_request(encode_picture_png(picture_H_W_3), box_xyxy=box_xyxy, target=known, modality=modality)
        most = self._health.limits
        if width * height > most.pixels or len(body) > most.body_bytes:
            raise ToolError(ToolCode.NOT_APPLICABLE, f"{width}x{height} pixels are more than the segmenter here takes.")
        asked = Asked(compute_request_sha256(body), self._health.weights_sha256, (width, height))
        try:
            said = self._ask(body, asked)
        except ModelFailed as failure:
            # without a cause: a server that is down for now is told to the model, it does not end the episode
            raise ToolError(ToolCode.TOOL_FAILED, f"{failure} Nothing was segmented.") from None
        if isinstance(said, Problem):
            raise _explain(said, known)
        return said

    def _ask_health(self) -> Health:
        limits = replace(
            self._link.limits, deadline_s=min(_HEALTH_S, self._link.limits.deadline_s), max_body_bytes=1 << 20
        )
        link = replace(self._link, url=self._address.health_url, method="GET", limits=limits)
        health: Health = link.exchange_alone(b"", parse_health).value
        return health

    def _ask(self, body: bytes, asked: Asked) -> Prediction | Problem:
        """One request, counted by the breaker; a refusal shows that the server is up."""
        self._breaker.check()
        try:
            said: Prediction | Problem = self._link.exchange_alone(body, lambda raw: parse_answer(raw, asked)).value
        except ModelFailed as failure:
            self._breaker.record(failed=not isinstance(failure, Refused))
            raise
        self._breaker.record(failed=False)
        return said

    def _check_prompt(self, box_xyxy: tuple[float, float, float, float] | None, target: str | None) -> str | None:
        """The target as the server knows it."""
        if box_xyxy is not None and "box" not in self._health.prompts:
            raise ToolError(ToolCode.NOT_APPLICABLE, "The segmenter here takes no boxes; use segment_text.")
        if target is None:
            return None
        if self.targets is None:
            if len(target) > _MOST_TARGET_CHARS or not target.isprintable():
                raise ToolError(
                    ToolCode.UNKNOWN_TARGET, f"A target is named in 1 to {_MOST_TARGET_CHARS} printable characters."
                )
            return target
        if not self.targets:
            raise ToolError(
                ToolCode.NOT_APPLICABLE, "The segmenter here takes boxes only; run with nano-seg to name a target."
            )
        return resolve_target(target, self.targets)


def _explain(problem: Problem, target: str | None) -> ToolError:
    if problem.code == "unknown_target":
        names = clean_names(problem.nearest)
        nearest = f" Its server names as nearest: {_quote(*names)}." if names else ""
        return ToolError(ToolCode.UNKNOWN_TARGET, f"{render_value(target)} is not a target of this segmenter.{nearest}")
    if problem.code == "not_applicable":
        why = clean_words(problem.message, 200)
        said = f"; its server says: {_quote(why)}" if why else ""
        return ToolError(ToolCode.NOT_APPLICABLE, f"The segmenter does not serve this{said}.")
    return ToolError(ToolCode.TOOL_FAILED, "The segmenter failed on this picture and prompt. Nothing was segmented.")


def _quote(*words: str) -> str:
    """Words of a server, marked as such for whoever reads them, a model or a person at the trace."""
    return ", ".join(f'"{one}"' for one in words)  # cleaned words hold no such mark
