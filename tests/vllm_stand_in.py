"""What this project asks of a vLLM server, on loopback, with a local model behind it: chat with the ids of tokens, and
adapters that are loaded while it runs. Its prompts are made from the wire alone."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from ophiscope.core.chat import Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Part, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.models.local.engine import LocalModel

__all__ = ["StandIn"]


class StandIn:
    """A server with ``with``.

    Args:
        model: At the start; keeps its weights beneath the adapters.
        other_template: Whether its prompts begin with a token that ours do not have.
        respells: From which assistant turn on it spells what was said in other tokens than were sampled.
    """

    def __init__(self, model: LocalModel, *, other_template: bool = False, respells: int | None = None) -> None:
        self.model, self.other_template, self.respells = model, other_template, respells
        self.begun = {name: value.clone() for name, value in model.parts.model.state_dict().items()}
        self.loads: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.stand_in = self

    @property
    def argument(self) -> str:
        """What ``rl.server`` takes."""
        return f"openai:http://127.0.0.1:{self._server.server_address[1]}/v1#tiny"

    def __enter__(self) -> "StandIn":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def load(self, asked: dict[str, Any]) -> None:
        """Add ``B A alpha / r`` to the weights at the start."""
        self.loads.append(asked)
        folder = Path(asked["lora_path"])
        options = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        adapters = load_file(folder / "adapter_model.safetensors")
        weights = dict(self.begun)
        for name in {key.rsplit(".lora_", 1)[0] for key in adapters}:
            at = f"{name.removeprefix('base_model.model.')}.weight"
            update = adapters[f"{name}.lora_B.weight"] @ adapters[f"{name}.lora_A.weight"]
            weights[at] = self.begun[at] + update * options["lora_alpha"] / options["r"]
        self.model.parts.model.load_state_dict(weights)

    def say(self, body: dict[str, Any]) -> dict[str, Any]:
        """A completion."""
        messages = tuple(read_message(message) for message in body["messages"])
        request = Request("s", messages, body["seed"], body["max_tokens"], body["temperature"])
        prompt = list(self.model.tokenize(request).token_ids)
        reply = self.model.sample([request])[0]
        self.model.close("s")
        turns = sum(message.role is Role.ASSISTANT for message in messages)
        if self.other_template or (self.respells is not None and turns >= self.respells):
            prompt[0 if self.other_template else -3] += 1
        entries = [{"token": "", "logprob": value} for value in reply.logprobs or ()]
        choice = {
            "message": {"role": "assistant", "content": reply.text},
            "finish_reason": "length" if reply.finish == "length" else "stop",
            "logprobs": {"content": entries},
            "token_ids": list(reply.token_ids or ()),
        }
        return {"choices": [choice], "prompt_token_ids": prompt, "usage": {"prompt_tokens": len(prompt)}}


def read_message(message: dict[str, Any]) -> Message:
    """A message of the wire; what the assistant said has no token of its own, as a template sees it."""
    content = message["content"]
    parts: list[Part] = [TextPart(content)] if isinstance(content, str) else [read_part(part) for part in content]
    role = Role(message["role"])
    first, last = parts[0], parts[-1]
    if role is Role.USER and isinstance(first, TextPart) and first.text.startswith("<tool_response>\n"):
        role = Role.TOOL  # the template puts the same frame around it
        parts[0] = TextPart(first.text.removeprefix("<tool_response>\n"))
        last = parts[-1]
        assert isinstance(last, TextPart)
        parts[-1] = TextPart(last.text.removesuffix("\n</tool_response>"))
    return Message(role, tuple(parts))


def read_part(part: dict[str, Any]) -> Part:
    if part["type"] == "text":
        return TextPart(part["text"])
    data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    frame = Frame("0" * 64, (pixels.shape[1], pixels.shape[0]), (0.0, 0.0), (1.0, 1.0))
    return ImagePart(View(1, Picture("S1", frame, pixels)))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandIn


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        stand_in = self.server.stand_in
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with stand_in.lock, torch.inference_mode():
            if self.path == "/v1/load_lora_adapter":
                stand_in.load(body)
                self._send(b"Success: LoRA adapter added.", "text/plain")
            elif self.path == "/v1/chat/completions" and body["return_token_ids"] and body["model"] == "ophiscope":
                self._send(json.dumps(stand_in.say(body)).encode(), "application/json")
            else:
                self.send_error(404)

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
