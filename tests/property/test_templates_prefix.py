"""The tokens of a conversation begin the tokens of any longer one, and only what the assistant wrote is learned."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.protocol.templates import SPECIAL_TOKENS, Family, flatten, render

_IDS = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
_VIEW = View(1, Picture("S1", Frame("root", (8, 8)), np.zeros((8, 8, 3), np.uint8)))


def _encode(text: str) -> list[int]:
    """Three characters a token, so that any shift of a border changes the tokens."""
    return [10 + hash(text[start : start + 3]) % 10**9 for start in range(0, len(text), 3)]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [*SPECIAL_TOKENS, "\n", "<answer>"]
)
_OUTSIDE = st.lists(st.one_of(_TEXT.map(TextPart), st.just(ImagePart(_VIEW))), max_size=4).map(tuple)
_SAMPLED = st.lists(st.integers(100, 200), max_size=5).flatmap(
    lambda ids: st.sampled_from([tuple(ids), (*ids, _IDS["<|im_end|>"])])
)
_ASSISTANT = st.builds(
    Message, st.just(Role.ASSISTANT), _TEXT.map(lambda text: (TextPart(text),)), st.one_of(st.none(), _SAMPLED)
)
_ROUND = st.tuples(st.builds(Message, st.sampled_from([Role.USER, Role.TOOL]), _OUTSIDE), _ASSISTANT)


@settings(max_examples=120, deadline=None)
@given(st.lists(_ROUND, min_size=1, max_size=4), st.sampled_from(list(Family)))
def test_every_prompt_is_a_prefix_of_the_whole(rounds, family):
    messages = [message for pair in rounds for message in pair]
    whole = flatten(render(messages, family), _encode, _IDS, lambda shown: 2)
    assert len(whole.loss_mask) == len(whole.token_ids)
    assert whole.token_ids.count(_IDS["<|image_pad|>"]) == 2 * sum(len(message.views) for message in messages)
    assert whole.token_ids.count(_IDS["<|im_start|>"]) == whole.token_ids.count(_IDS["<|im_end|>"]) == len(messages)
    for count in range(1, len(messages), 2):
        prompt = flatten(render(messages[:count], family, generate=True), _encode, _IDS, lambda shown: 2)
        size = len(prompt.token_ids)
        assert whole.token_ids[:size] == prompt.token_ids
        assert whole.loss_mask[:size] == prompt.loss_mask
        sampled = messages[count].token_ids
        if sampled is not None:
            assert whole.token_ids[size : size + len(sampled)] == sampled
            assert all(whole.loss_mask[size : size + len(sampled)])
    learned = [number for number, counts in zip(whole.token_ids, whole.loss_mask, strict=True) if counts]
    assert not {_IDS["<|im_start|>"], _IDS["<|image_pad|>"]} & set(learned)
