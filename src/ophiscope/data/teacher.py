"""A teacher that costs: asked each thing once, with a budget that ends a build cleanly.

Replies are kept beside the set by what was asked (messages, pictures and sampling, by content), so that a build that
goes on, or is made again into the same folder, asks nothing twice. Deadlines, tries and rate limits are those of the
model itself (:mod:`ophiscope.net.transport`).
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import TextPart
from ophiscope.data.plan import BuildOptions
from ophiscope.errors import OphiscopeError
from ophiscope.ledger.disk import guard

__all__ = ["BudgetSpent", "Teacher", "build_teacher"]

_CACHE = "replies"
_PICTURE_TOKENS = 1024
"""What a picture is counted as where the model does not say."""
_LETTERS_A_TOKEN = 4


class BudgetSpent(OphiscopeError):
    """A teacher's budget is used up: the build stops cleanly."""


def build_teacher(options: BuildOptions, folder: Path, build_model: Callable[[str], ChatModel]) -> "Teacher":
    """The teacher that a build names, with its cache and budget."""
    return Teacher(build_model(options.teacher), folder, calls=options.budget_calls, tokens=options.budget_tokens)


class Teacher:
    """A :class:`~ophiscope.core.chat.ChatModel` around another.

    Args:
        model: Who is asked.
        folder: Of the set; replies are kept under ``replies``.
        calls: How often it may be asked in all, by every process of the build; None without end.
        tokens: Of prompts and replies together; likewise.
    """

    def __init__(self, model: ChatModel, folder: Path, *, calls: int | None = None, tokens: int | None = None) -> None:
        self._model, self._folder = model, folder / _CACHE
        self._calls, self._tokens = calls, tokens
        with guard("make the folder of replies"):
            self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def card(self) -> ModelCard:
        """That of the model."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`.

        Raises:
            BudgetSpent: If it may not be asked any more.
        """
        keys = [_name_request(self.card, request) for request in requests]
        known = [self._recall(key) for key in keys]
        asked = [index for index, reply in enumerate(known) if reply is None]
        if asked:
            self._spend([requests[index] for index in asked])
            for index, reply in zip(asked, self._model.sample([requests[index] for index in asked]), strict=True):
                known[index] = reply
                self._keep(keys[index], reply)
        return [reply for reply in known if reply is not None]

    def close(self, session: str) -> None:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        self._model.close(session)

    def _recall(self, key: str) -> Reply | None:
        path = self._folder / key[:2] / f"{key}.json"
        if not path.exists():
            return None
        value = json.loads(path.read_text("utf-8"))
        return Reply(value["text"], FinishReason(value["finish"]), notes=("recalled",))

    def _keep(self, key: str, reply: Reply) -> None:
        path = self._folder / key[:2] / f"{key}.json"
        with guard("keep a reply"):
            path.parent.mkdir(exist_ok=True)
            part = path.with_name(f".partial-{os.getpid()}-{key}")
            part.write_text(json.dumps({"text": reply.text, "finish": reply.finish.value}), "utf-8")
            part.replace(path)

    def _spend(self, requests: Sequence[Request]) -> None:
        """Count before asking: a call that fails has cost too. Lines of one file add up over processes."""
        spent_calls, spent_tokens = self.count_spent()
        tokens = sum(map(_estimate_tokens, requests))
        if self._calls is not None and spent_calls + len(requests) > self._calls:
            raise BudgetSpent(f"the budget of {self._calls} calls is spent; --budget-calls N goes on with more")
        if self._tokens is not None and spent_tokens + tokens > self._tokens:
            raise BudgetSpent(f"the budget of {self._tokens} tokens is spent; --budget-tokens N goes on with more")
        with guard("count a call"), (self._folder / "spent").open("ab", buffering=0) as file:
            file.write(f"{len(requests)} {tokens}\n".encode())

    def count_spent(self) -> tuple[int, int]:
        """Calls and tokens so far, about: a picture counts as 1,024 tokens, four letters as one."""
        path = self._folder / "spent"
        if not path.exists():
            return 0, 0
        pairs = [line.split() for line in path.read_text("ascii").splitlines() if line.count(" ") == 1]
        return sum(int(calls) for calls, _ in pairs), sum(int(tokens) for _, tokens in pairs)


def _estimate_tokens(request: Request) -> int:
    text = sum(len(message.text) for message in request.messages)
    pictures = sum(len(message.views) for message in request.messages)
    return text // _LETTERS_A_TOKEN + pictures * _PICTURE_TOKENS + request.max_tokens


def _name_request(card: ModelCard, request: Request) -> str:
    digest = hashlib.sha256()
    digest.update(json.dumps(asdict(replace(card)), sort_keys=True).encode())
    digest.update(f"{request.seed}/{request.max_tokens}/{request.temperature}".encode())
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, TextPart):
                digest.update(f"{message.role}:".encode() + part.text.encode())
            else:
                pixels = part.view.picture.pixels_H_W_3
                digest.update(str(pixels.shape).encode() + pixels.tobytes())
    return digest.hexdigest()
