"""Sampling with a key-value cache per session.

Of a request only what its session has not run yet is run: the new turns with their new pictures, then one token after
another. What a session has run is known by its tokens and by the pixels of its pictures; where a request does not
continue it, everything is run anew, and the reply says so. Positions are worked out by us over the whole token list and
the cache belongs to the session, so nothing that a Hugging Face model remembers between calls can matter.

New turns are run session by session (padding them to one length costs what joining them saves on a CPU); all pictures
of a batch go through the vision tower together, and tokens are sampled for all sessions together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.view import Picture, View
from ophiscope.errors import ModelFailed
from ophiscope.models.local.cache import KVBatch, Prefix
from ophiscope.models.local.forward import TokenBatch, compute_logits, embed_tokens, run_decoder
from ophiscope.models.local.packing import PatchLayout, pack_views
from ophiscope.models.local.positions import ImageSpan, compute_positions
from ophiscope.models.local.sampling import Choice, choose_token, forbid, seeded_generator
from ophiscope.models.local.tokens import TextCodec
from ophiscope.models.local.vision import ImageFeatures, encode_images
from ophiscope.protocol.templates import Tokenized, flatten, render

__all__ = ["STOP_TAGS", "LocalModel", "LocalParts"]

STOP_TAGS = ("</tool_call>", "</answer>")
"""Where a turn of the grammar is complete."""
_TAG_TOKENS = 16
"""The last tokens in which a stop tag is looked for; no tag is spelled with more."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalParts:
    """What a local model is made of."""

    card: ModelCard
    model: Any
    """Qwen2.5-VL, Qwen3-VL, or the skeleton of the latter."""
    codec: TextCodec
    layout: PatchLayout
    context: int
    """Greatest number of tokens of a conversation, the reply included."""
    stop_tags: tuple[str, ...] = ()
    """A reply also ends after one of these texts; empty leaves it to ``<|im_end|>``."""


@dataclass(slots=True)
class _Session:
    """What one session has run."""

    tokens: tuple[int, ...] = ()
    pictures: tuple[tuple[int, Picture, bytes], ...] = ()
    """First token, picture and hash of its pixels."""
    prefix: Prefix | None = None


@dataclass(slots=True, eq=False)
class _Turn:
    """A request on its way to a reply."""

    request: Request
    prompt: Tokenized
    spans: tuple[ImageSpan, ...]
    pictures: tuple[tuple[int, Picture, bytes], ...]
    positions_3_T: Any
    next_position: int
    start: int
    """Tokens of the prompt that the cache holds."""
    recomputed: int
    notes: tuple[str, ...]
    generator: torch.Generator
    choices: list[Choice] = field(default_factory=list)
    finish: FinishReason | None = None

    @property
    def length(self) -> int:
        """Tokens of prompt and reply so far."""
        return len(self.prompt.token_ids) + len(self.choices)

    @property
    def new_views(self) -> list[View]:
        """Pictures that have not been run."""
        return [span.view for span in self.prompt.image_spans if span.start >= self.start]


class LocalModel:
    """A :class:`~ophiscope.core.chat.ChatModel` in this process. Not for use by several threads at once."""

    def __init__(self, parts: LocalParts) -> None:
        """Take the parts as :func:`ophiscope.models.local.load.load_local` made them."""
        self._parts = parts
        self._sessions: dict[str, _Session] = {}

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._parts.card

    @property
    def parts(self) -> LocalParts:
        """Model, codec and layout, for training and for checks."""
        return self._parts

    def close(self, session: str) -> None:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        self._sessions.pop(session, None)

    def spell(self, token_ids: Sequence[int]) -> list[str]:
        """The text of each token; of ``<|im_end|>`` it is empty."""
        return [self._parts.codec.decode([token]) for token in token_ids]

    def tokenize(self, request: Request) -> Tokenized:
        """The prompt of a request, as the model reads it.

        Raises:
            ValueError: If the conversation cannot be rendered, or a view has a size that the model does not take.
        """
        codec, layout = self._parts.codec, self._parts.layout
        segments = render(request.messages, self.card.family, generate=True)
        return flatten(
            segments, codec.encode, codec.special_ids, lambda view: layout.image_tokens(view.picture.frame.size_wh)
        )

    def build_batch(self, prompt: Tokenized) -> TokenBatch:
        """A prompt as a batch of one, for a forward over the whole of it."""
        layout = self._parts.layout
        packed = pack_views([span.view.picture.pixels_H_W_3 for span in prompt.image_spans], layout)
        positions = compute_positions(len(prompt.token_ids), _image_spans(prompt, layout), merge=layout.merge)
        return TokenBatch(
            self._tensor(prompt.token_ids)[None],
            self._tensor(positions.ids_3_T)[:, None],
            self._tensor(packed.patches_N_P) if packed.grids else None,
            packed.grids,
        )

    @torch.inference_mode()
    def compute_next_logits(self, request: Request) -> Tensor:
        """Logits ``(V,)`` of the token after a request's prompt, by one forward over all of it, no cache read."""
        batch = self.build_batch(self.tokenize(request))
        last = torch.zeros(batch.token_ids_B_T.shape, dtype=torch.bool, device=batch.token_ids_B_T.device)
        last[0, -1] = True
        return compute_logits(self._parts.model, batch, keep_B_T=last)[0]

    @torch.inference_mode()
    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`.

        Raises:
            ValueError: If two requests share a session, or a conversation cannot be rendered.
            ModelFailed: If the logits are not finite; the sessions of the batch are forgotten.
        """
        names = [request.session for request in requests]
        if len(set(names)) < len(names):
            raise ValueError(f"One batch holds several requests of one session: {sorted(names)}.")
        turns = [self._open_turn(request) for request in requests]
        running = [turn for turn in turns if turn.finish is None]
        try:
            if running:
                self._decode(running, self._prefill(running))
        except BaseException:
            for turn in running:  # their caches may be half-written
                self.close(turn.request.session)
            raise
        return [self._reply(turn) for turn in turns]

    def _open_turn(self, request: Request) -> _Turn:
        """Find how much of a request its session has run."""
        prompt = self.tokenize(request)
        spans = _image_spans(prompt, self._parts.layout)
        positions = compute_positions(len(prompt.token_ids), spans, merge=self._parts.layout.merge)
        session = self._sessions.setdefault(request.session, _Session())
        known = {id(picture): digest for _, picture, digest in session.pictures}
        pictures = tuple(
            (span.start, span.view.picture, known.get(id(span.view.picture)) or _hash_pixels(span.view.picture))
            for span in prompt.image_spans
        )
        shared = _count_shared(session, prompt.token_ids, pictures)
        held = len(session.tokens)
        turn = _Turn(
            request,
            prompt,
            spans,
            pictures,
            positions.ids_3_T,
            positions.next_position,
            start=held if shared == held < len(prompt.token_ids) else 0,
            recomputed=0,
            notes=(),
            generator=seeded_generator(request.seed),
        )
        if turn.start < held:
            turn.recomputed = shared
            turn.notes = (
                f"prefix mismatch: the session had run {held} tokens and the request shares the first {shared}; "
                f"all {len(prompt.token_ids)} tokens were run again",
            )
            self._sessions[request.session] = _Session()
        if turn.length >= self._parts.context:
            turn.finish, turn.recomputed = FinishReason.CONTEXT_FULL, 0
        elif request.max_tokens <= 0:
            turn.finish, turn.recomputed = FinishReason.LENGTH, 0
        return turn

    def _prefill(self, turns: Sequence[_Turn]) -> Tensor:
        """Run what is new of each prompt; gives the log-probabilities of the next token, ``(B, V)``.

        Episodes of one question begin alike: such a prompt is run once, and its keys and values are theirs together.
        """
        features = self._encode_views(turns)
        last: list[Tensor] = []
        begun: dict[tuple[object, ...], tuple[Tensor, Prefix]] = {}
        for turn, own in zip(turns, features, strict=True):
            name = turn.request.session
            same = _name_beginning(turn)
            if same not in begun:
                begun[same] = self._run_prompt(turn, own)
            hidden, prefix = begun[same]
            self._sessions[name] = _Session(turn.prompt.token_ids, turn.pictures, prefix)
            last.append(hidden)
        return self._score(torch.cat(last))

    def _run_prompt(self, turn: _Turn, features: ImageFeatures | None) -> tuple[Tensor, Prefix]:
        """Run what is new of one prompt; gives its last hidden state ``(1, D)``, and keys and values of all of it."""
        text = self._parts.model.model.language_model
        embedded, image_at = embed_tokens(
            self._parts.model, self._tensor(turn.prompt.token_ids[turn.start :])[None], features
        )
        cache = KVBatch([self._sessions[turn.request.session].prefix], layers=len(text.layers))
        cache.begin(embedded.shape[1])
        keep = torch.zeros(embedded.shape[:2], dtype=torch.bool, device=embedded.device)
        keep[0, -1] = True
        hidden = run_decoder(
            text,
            embedded,
            self._tensor(turn.positions_3_T[:, turn.start :])[:, None],
            cache=cache,
            deepstack=(image_at, features.deepstack_L_M_D) if features is not None else None,
            keep_B_T=keep,
        )
        cache.commit()
        return hidden, cache.prefix(0)

    def _decode(self, turns: list[_Turn], logprobs_B_V: Tensor) -> None:
        """Sample until every turn has finished; finished ones leave the batch when half of it has."""
        text = self._parts.model.model.language_model
        cache = KVBatch([self._sessions[turn.request.session].prefix for turn in turns], layers=len(text.layers))
        rows = list(turns)
        while True:
            for turn, logprobs_V in zip(rows, logprobs_B_V, strict=True):
                if turn.finish is None:
                    self._choose(turn, logprobs_V)
                    if turn.finish is not None:
                        self._store(turn, cache, rows.index(turn))
            active = [row for row, turn in enumerate(rows) if turn.finish is None]
            if not active:
                return
            if len(active) * 2 <= len(rows):
                cache.select(active)
                rows = [rows[row] for row in active]
            tokens = self._tensor([turn.choices[-1].token_id for turn in rows])[:, None]
            positions = self._tensor([turn.next_position + len(turn.choices) - 1 for turn in rows])
            embedded, _ = embed_tokens(self._parts.model, tokens, None)
            cache.begin(1)
            hidden = run_decoder(text, embedded, positions[None, :, None].expand(3, -1, -1), cache=cache)
            cache.commit()
            logprobs_B_V = self._score(hidden[:, 0])

    def _choose(self, turn: _Turn, logprobs_V: Tensor) -> None:
        """Sample one token of a turn, and see whether it was the last."""
        codec = self._parts.codec
        choice = choose_token(logprobs_V, temperature=turn.request.temperature, generator=turn.generator)
        turn.choices.append(choice)
        if choice.token_id == codec.end_id or self._ends_in_tag(turn):
            turn.finish = FinishReason.STOP
        elif len(turn.choices) >= turn.request.max_tokens:
            turn.finish = FinishReason.LENGTH
        elif turn.length >= self._parts.context:
            turn.finish = FinishReason.CONTEXT_FULL

    def _ends_in_tag(self, turn: _Turn) -> bool:
        if not self._parts.stop_tags:
            return False
        tail = self._parts.codec.decode([choice.token_id for choice in turn.choices[-_TAG_TOKENS:]])
        return any(tag in tail for tag in self._parts.stop_tags)

    def _store(self, turn: _Turn, cache: KVBatch, row: int) -> None:
        """Give a finished turn's keys and values back to its session; the last token was never run."""
        run = turn.prompt.token_ids + tuple(choice.token_id for choice in turn.choices[:-1])
        prefix = cache.prefix(row) if len(turn.choices) > 1 else self._sessions[turn.request.session].prefix
        self._sessions[turn.request.session] = _Session(run, turn.pictures, prefix)

    def _score(self, hidden_B_D: Tensor) -> Tensor:
        logits = self._parts.model.lm_head(hidden_B_D)
        if not bool(torch.isfinite(logits).all()):
            raise ModelFailed(
                f"The model {self.card.name} gave logits that are not finite; its weights may be damaged."
            )
        return forbid(logits, self._parts.codec.forbidden_ids)

    def _encode_views(self, turns: Sequence[_Turn]) -> list[ImageFeatures | None]:
        """Visual tokens of each turn's new pictures; pixels that several turns show are encoded once."""
        digests = {id(picture): digest for turn in turns for _, picture, digest in turn.pictures}
        pictures = {digests[id(view.picture)]: view.picture for turn in turns for view in turn.new_views}
        if not pictures:
            return [None] * len(turns)
        layout = self._parts.layout
        packed = pack_views([picture.pixels_H_W_3 for picture in pictures.values()], layout)
        features = encode_images(self._parts.model.model.visual, self._tensor(packed.patches_N_P), packed.grids)
        counts = [grid.patches // layout.merge**2 for grid in packed.grids]
        levels = [torch.split(level, counts) for level in (features.tokens_M_D, *features.deepstack_L_M_D)]
        place = {key: index for index, key in enumerate(pictures)}

        def gather(turn: _Turn) -> ImageFeatures | None:
            shown = [place[digests[id(view.picture)]] for view in turn.new_views]
            joined = [torch.cat([level[index] for index in shown]) for level in levels if shown]
            return ImageFeatures(joined[0], tuple(joined[1:])) if joined else None

        return [gather(turn) for turn in turns]

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, device=self._parts.model.lm_head.weight.device)

    def _reply(self, turn: _Turn) -> Reply:
        ids = tuple(choice.token_id for choice in turn.choices)
        return Reply(
            text=self._parts.codec.decode(ids),
            finish=turn.finish or FinishReason.STOP,
            token_ids=ids,
            logprobs=tuple(choice.logprob for choice in turn.choices),
            prompt_tokens=len(turn.prompt.token_ids),
            recomputed_tokens=turn.recomputed,
            notes=turn.notes,
        )


def _image_spans(prompt: Tokenized, layout: PatchLayout) -> tuple[ImageSpan, ...]:
    return tuple(ImageSpan(span.start, layout.grid(span.view.picture.frame.size_wh)) for span in prompt.image_spans)


def _hash_pixels(picture: Picture) -> bytes:
    pixels = np.ascontiguousarray(picture.pixels_H_W_3)
    return hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()


def _count_shared(
    session: _Session, token_ids: tuple[int, ...], pictures: tuple[tuple[int, Picture, bytes], ...]
) -> int:
    """How many tokens a prompt and a session have in common from the start, pictures compared by their pixels."""
    shared = 0
    for held, asked in zip(session.tokens, token_ids, strict=False):
        if held != asked:
            break
        shared += 1
    for (start, _, digest), (_, _, other) in zip(session.pictures, pictures, strict=False):
        if start < shared and digest != other:
            return start
    return shared


def _name_beginning(turn: _Turn) -> tuple[object, ...]:
    """Alike for turns that begin their sessions with the same tokens and pictures."""
    if turn.start:
        return (turn.request.session,)
    return turn.prompt.token_ids, tuple((start, digest) for start, _, digest in turn.pictures)
