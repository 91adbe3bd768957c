"""A model behind any OpenAI-compatible server (vLLM, SGLang, a vendor).

The server owns tokens and chat template, so a trace made with it says ``token_exact: false``; our grammar travels as
text, and whatever a server parses out of it is written back (:mod:`ophiscope.models.wire`). Everything that
can go wrong on the way ends in ``ModelFailed`` within one deadline (:mod:`ophiscope.net.transport`).
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from typing import Any

from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.view import Picture
from ophiscope.errors import ModelFailed, WrongInput
from ophiscope.models.address import ServerAddress, build_server_card, parse_server_name
from ophiscope.models.batch import collect_replies
from ophiscope.models.wire import Adaptation, has_specials, parse_completion, render_data_uri, render_request
from ophiscope.net.transport import GRACE_S, Abort, Breaker, Link, LinkLimits, Refused, build_headers, build_tls

__all__ = [
    "LinkLimits",
    "ServerAddress",
    "ServerModel",
    "build_server_card",
    "parse_server_name",
]

_CONTEXT_FULL = re.compile(
    rb"context_length_exceeded|exceed_context_size|maximum context length|maximum model length|max_model_len"
    rb"|exceeds? the (?:available|model's) context|longer than the model's context",
    re.IGNORECASE,
)
"""How vLLM, SGLang, llama.cpp and vendors say that a prompt is too long."""
_REFUSABLE = (
    (re.compile(rb"max_completion_tokens", re.IGNORECASE), Adaptation.COMPLETION_TOKENS),
    (re.compile(rb"logprob", re.IGNORECASE), Adaptation.NO_LOGPROBS),
    (re.compile(rb"\bseed\b", re.IGNORECASE), Adaptation.NO_SEED),
)
_REFUSING = frozenset({400, 403, 422, 501})


class ServerModel:
    """A :class:`~ophiscope.core.chat.ChatModel` that asks a server.

    Args:
        address: Which server and which model on it.
        card: What the loop must know; made from the address where None. One that is ``token_exact`` asks for the ids of
            tokens (vLLM), which who trains on replies needs.
        api_key: Sent as a bearer token; appears in no error, note or ``repr``.
        limits: Deadline, tries, sizes, threads.
        server_tools: Function schemas to send, for a server that parses calls itself; by default none are sent and
            the model reads ours in the system prompt.
        offline: True forbids any socket: the model cannot be made.
        clock: Monotonic seconds.

    Raises:
        WrongInput: If ``offline``, or the key cannot stand in a header.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        card: ModelCard | None = None,
        api_key: str | None = None,
        limits: LinkLimits | None = None,
        server_tools: Sequence[Mapping[str, Any]] = (),
        offline: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if offline:
            raise WrongInput("--offline forbids a model behind a server; nano and hf: work without a network.")
        self._address = address
        self._card = card or build_server_card(address)
        self._limits = limits or LinkLimits()
        self._server_tools = tuple(server_tools)
        self._parse = partial(parse_completion, with_tokens=self._card.token_exact)
        self._more = {"return_token_ids": True} if self._card.token_exact else {}
        self._clock = clock
        self._breaker = Breaker(self._limits, clock)
        self._adaptations: frozenset[Adaptation] = frozenset()
        self._encoded: dict[str, dict[int, tuple[Picture, str]]] = {}
        self._link = Link(
            address.completions_url,
            build_headers(api_key),
            self._limits,
            build_tls(address.base_url),
            environment=not address.loopback,
            clock=clock,
        )

    def __repr__(self) -> str:
        return f"ServerModel({self._address.name!r})"

    @property
    def address(self) -> ServerAddress:
        """Where requests go; the egress rule reads it."""
        return self._address

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order of ``requests``, all within one deadline.

        Raises:
            ModelFailed: If the only request got no usable reply.
            BatchFailed: If one of several did; it holds the replies of the others.
        """
        if not requests:
            return []
        abort = Abort()
        until = self._clock() + self._limits.deadline_s
        pool = ThreadPoolExecutor(min(self._limits.workers, len(requests)), "model-server")
        try:
            futures = [pool.submit(self._ask, request, abort, until) for request in requests]
            wait(futures, timeout=max(0.0, until - self._clock()))
            abort.fire()
            wait(futures, timeout=GRACE_S)
            return collect_replies(map(self._outcome, futures))
        finally:
            # Also on Ctrl-C: nothing may go on in the background.
            abort.fire()
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self, session: str) -> None:
        """Forget the pictures that were encoded for a session; the server keeps nothing of ours."""
        self._encoded.pop(session, None)

    def _outcome(self, future: "Future[Reply]") -> Reply | ModelFailed:
        if not future.done():
            return ModelFailed(f"The model server gave no usable reply within {self._limits.deadline_s:g} s.")
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, ModelFailed):
            return error
        raise error

    def _ask(self, request: Request, abort: Abort, until: float) -> Reply:
        """One request, counted by the breaker; a refusal shows that the server is up."""
        self._breaker.check()
        try:
            reply = self._ask_adapting(request, abort, until)
        except Refused:
            self._breaker.record(failed=False)
            raise
        except ModelFailed:
            self._breaker.record(failed=True)
            raise
        self._breaker.record(failed=False)
        return reply

    def _ask_adapting(self, request: Request, abort: Abort, until: float) -> Reply:
        """Ask, and once for each thing the server refuses ask again without it."""
        adaptations = self._adaptations
        while True:
            body = render_request(
                request,
                self._address.model,
                encode=lambda picture: self._encode(request.session, picture),
                server_tools=self._server_tools,
                adaptations=adaptations,
                more=self._more,
            )
            try:
                reply, failed_tries = self._link.exchange(body, self._parse, abort, until)
            except Refused as refusal:
                if _says_context_full(refusal):
                    return Reply("", FinishReason.CONTEXT_FULL, notes=("the server says that the context is full",))
                adaptation = _find_adaptation(refusal, adaptations)
                if adaptation is None:
                    raise
                adaptations |= {adaptation}
                continue
            self._adaptations |= adaptations
            return _annotate(reply, request, adaptations, failed_tries)

    def _encode(self, session: str, picture: Picture) -> str:
        """A picture's data URI, made once a session: the whole conversation is sent again every turn."""
        kept = self._encoded.setdefault(session, {})
        # The picture is kept beside its URI, so that its id cannot pass to another one.
        if id(picture) not in kept:
            kept[id(picture)] = (picture, render_data_uri(picture))
        return kept[id(picture)][1]


def _annotate(
    reply: Reply, request: Request, adaptations: frozenset[Adaptation], failed_tries: tuple[str, ...]
) -> Reply:
    notes = [*reply.notes, *(f"a try failed: {cause}" for cause in failed_tries), *sorted(adaptations)]
    if has_specials(request):
        notes.append("special tokens spelled in the conversation were sent with spaces in them")
    return replace(reply, notes=tuple(notes))


def _says_context_full(refusal: Refused) -> bool:
    return refusal.status in (400, 413, 422) and _CONTEXT_FULL.search(refusal.body) is not None


def _find_adaptation(refusal: Refused, tried: frozenset[Adaptation]) -> Adaptation | None:
    """What to change so that the server may accept, where it names something that can be left out."""
    if refusal.status not in _REFUSING:
        return None
    named = (adaptation for pattern, adaptation in _REFUSABLE if pattern.search(refusal.body))
    return next((adaptation for adaptation in named if adaptation not in tried), None)
