"""Episodes over HTTP, as docs/env-http.md says: text in, text and PNG bytes out, ground truth nowhere but in a reward.

A request names an episode; each has a lock of its own, so many go on side by side. What is idle too long is ended where
its place is wanted.
"""

import base64
import hmac
import io
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ophiscope.core.message import ImagePart, Message, Part, TextPart
from ophiscope.env import Environment, EnvStep
from ophiscope.errors import OphiscopeError
from ophiscope.net.address import is_loopback

__all__ = ["CONTRACT", "EnvLimits", "Episodes", "build_app"]

CONTRACT = "ophiscope-env/1"


@dataclass(frozen=True, slots=True)
class EnvLimits:
    """The most that is taken."""

    episodes: int = 256
    """Open at a time."""
    idle_s: float = 900.0
    """An episode that nobody asked for so long gives its place up."""
    body_bytes: int = 1 << 20


class Refusal(Exception):
    """A request that is not served, with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True, eq=False)
class _Open:
    """An episode that was begun."""

    environment: Environment
    asked_s: float
    busy: threading.Lock = field(default_factory=threading.Lock)


class Episodes:
    """What is open, by its id.

    Args:
        make: A new environment.
        limits: The most that is open.
        clock: Seconds, never going back.
    """

    def __init__(
        self, make: Callable[[], Environment], limits: EnvLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self._limits, self._clock = make, limits, clock
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, task: str, seed: int) -> dict[str, Any]:
        """Begin one; gives its id, the prompt and the tools.

        Raises:
            Refusal: If too many are open.
            WrongInput: If there is no such task or seed.
        """
        self._make_room()
        episode = _Open(self._make(), self._clock())
        messages = episode.environment.reset(task, seed)
        name = secrets.token_urlsafe(12)
        with self._lock:
            if len(self._open) >= self._limits.episodes:
                raise Refusal(429, f"{self._limits.episodes} episodes are open; end some of them.")
            self._open[name] = episode
        shown = [render_message(message) for message in messages]
        return {"episode": name, "messages": shown, "tools": episode.environment.tools}

    def step(self, name: str, text: str) -> dict[str, Any]:
        """Hand over a text; an episode that is done is forgotten.

        Raises:
            Refusal: If there is no such episode, or another step of it is under way.
        """
        with self._held(name) as episode:
            step = episode.environment.step(text)
        return self._tell(name, step)

    def end(self, name: str) -> dict[str, Any]:
        """End one where it is, as where a trainer has no tokens left; it is worth what it is worth without an answer.

        Raises:
            Refusal: If there is no such episode, or a step of it is under way.
        """
        with self._held(name) as episode:
            step = episode.environment.finish()
        return self._tell(name, step)

    def _tell(self, name: str, step: EnvStep) -> dict[str, Any]:
        """A step as JSON; what is done is forgotten."""
        if step.done:
            with self._lock:
                self._open.pop(name, None)
        return {
            "messages": [render_message(message) for message in step.messages],
            "reward": dict(step.reward),
            "done": step.done,
            "stop": step.stop,
            "evidence": step.evidence,
            "looked": step.looked,
        }

    @contextmanager
    def _held(self, name: str) -> Iterator[_Open]:
        """An episode, while nobody else asks it."""
        episode = self._find(name)
        if not episode.busy.acquire(blocking=False):
            raise Refusal(409, "Another step of this episode is under way.")
        try:
            yield episode
            episode.asked_s = self._clock()
        finally:
            episode.busy.release()

    def _find(self, name: str) -> _Open:
        episode = self._open.get(name)
        if episode is None:
            raise Refusal(404, "There is no such episode; it may be done, or have been idle for too long.")
        return episode

    def _make_room(self) -> None:
        with self._lock:
            if len(self._open) >= self._limits.episodes:
                late = self._clock() - self._limits.idle_s
                self._open = {name: one for name, one in self._open.items() if one.asked_s > late}


def render_message(message: Message) -> dict[str, Any]:
    """A turn as JSON: text, and pictures as PNG."""
    return {"role": message.role, "content": [_render_part(part) for part in message.parts]}


def _render_part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    assert isinstance(part, ImagePart)
    pixels = part.view.picture.pixels_H_W_3
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, "png", compress_level=1)
    height, width = pixels.shape[:2]
    return {"type": "image", "width": width, "height": height, "png": base64.b64encode(kept.getvalue()).decode()}


class _Guard(NamedTuple):
    """Who may ask."""

    token: str | None
    loopback: bool

    def check(self, request: Request) -> None:
        """No page in a browser may ask, whatever name it gives to this machine."""
        host = request.headers.get("host", "")
        if "origin" in request.headers or (self.loopback and not is_loopback(f"http://{host}")):
            raise Refusal(403, "requests of browsers, or under another host name, are not served")
        given = request.headers.get("authorization", "").encode("latin-1")
        if self.token and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise Refusal(401, "the token is missing or wrong")


def build_app(
    make: Callable[[], Environment],
    tasks: Sequence[str],
    *,
    preset: str,
    limits: EnvLimits | None = None,
    token: str | None = None,
    loopback: bool = True,
) -> Starlette:
    """The application.

    Args:
        make: A new environment.
        tasks: The names that it draws from.
        preset: Whose reward it gives.
        limits: The most that is taken.
        token: What ``Authorization: Bearer`` must hold; None asks for none.
        loopback: Whether it listens to this machine alone; then only requests under its names are served.
    """
    limits, guard = limits or EnvLimits(), _Guard(token, loopback)
    episodes = Episodes(make, limits)

    async def tell_health(request: Request) -> Mapping[str, Any]:
        bounds = {"episodes": limits.episodes, "idle_s": limits.idle_s, "body_bytes": limits.body_bytes}
        return {"contract": CONTRACT, "preset": preset, "tasks": list(tasks), "open": len(episodes), "limits": bounds}

    async def begin(request: Request) -> Mapping[str, Any]:
        asked = await _read_fields(request, limits.body_bytes, {"task": str, "seed": int})
        return await run_in_threadpool(episodes.begin, asked["task"], asked["seed"])

    async def step(request: Request) -> Mapping[str, Any]:
        asked = await _read_fields(request, limits.body_bytes, {"text": str})
        return await run_in_threadpool(episodes.step, request.path_params["episode"], asked["text"])

    async def end(request: Request) -> Mapping[str, Any]:
        return await run_in_threadpool(episodes.end, request.path_params["episode"])

    def served(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            try:
                guard.check(request)
                return JSONResponse(await answer(request))
            except Refusal as refusal:
                return JSONResponse({"error": str(refusal)}, refusal.status)
            except OphiscopeError as error:
                return JSONResponse({"error": str(error)}, 400)

        return serve

    return Starlette(
        routes=[
            Route("/v1/health", served(tell_health), methods=["GET"]),
            Route("/v1/episodes", served(begin), methods=["POST"]),
            Route("/v1/episodes/{episode}/step", served(step), methods=["POST"]),
            Route("/v1/episodes/{episode}", served(end), methods=["DELETE"]),
        ]
    )


async def _read_fields(request: Request, most_bytes: int, wanted: Mapping[str, type]) -> dict[str, Any]:
    """A JSON object with exactly these fields."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise Refusal(413, f"at most {most_bytes} bytes are taken")
    try:
        fields = json.loads(body)
    except ValueError:
        raise Refusal(400, "the body is no JSON") from None
    said = ", ".join(f"{name} ({kind.__name__})" for name, kind in wanted.items())
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != dict(wanted):
        raise Refusal(400, f"the body must be an object with {said} and nothing else")
    return fields
