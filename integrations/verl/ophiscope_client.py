"""Talks to ``ophiscope env serve`` (contract ophiscope-env/1), with the standard library alone.

Written to be put beside verl in verl's own environment: nothing here imports ophiscope.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

__all__ = ["EnvFailed", "begin", "end", "read_message", "step"]

URL = os.environ.get("OPHISCOPE_ENV_URL", "http://127.0.0.1:8890")
_DEADLINE_S = float(os.environ.get("OPHISCOPE_ENV_DEADLINE_S", "120"))
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EnvFailed(Exception):
    """The environment gave no answer, or refused; the text is one neutral line."""


async def begin(task: str, seed: int) -> dict[str, Any]:
    """Begin an episode."""
    return await asyncio.to_thread(_ask, "POST", "/v1/episodes", {"task": task, "seed": int(seed)})


async def step(episode: str, text: str) -> dict[str, Any]:
    """Hand over what the model wrote."""
    return await asyncio.to_thread(_ask, "POST", f"/v1/episodes/{episode}/step", {"text": text})


async def end(episode: str) -> dict[str, Any]:
    """End an episode where it is."""
    return await asyncio.to_thread(_ask, "DELETE", f"/v1/episodes/{episode}", None)


def read_message(message: dict[str, Any]) -> tuple[str, list[bytes]]:
    """Its text, and its pictures as PNG bytes."""
    parts = message["content"]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return text, [base64.b64decode(part["png"]) for part in parts if part["type"] == "image"]


def _ask(method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if token := os.environ.get("OPHISCOPE_ENV_KEY"):
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + _DEADLINE_S
    wait_s = 0.5
    while True:
        request = urllib.request.Request(URL + path, data, headers, method=method)
        try:
            with _DIRECT.open(request, timeout=max(1.0, until - time.monotonic())) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            # 429: nothing was begun, so asking again is safe; a step is never sent twice
            if error.code != 429 or time.monotonic() + wait_s > until:
                raise EnvFailed(f"the environment refused with status {error.code}") from None
        except ConnectionRefusedError:
            raise EnvFailed("nothing listens where the environment should be") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EnvFailed(f"the environment gave no answer ({type(error).__name__})") from None
        time.sleep(wait_s)
        wait_s = min(8.0, 2 * wait_s)
