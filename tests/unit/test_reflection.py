"""Spoiled calls: the first is spoiled and no other, who looks again is mended, who goes by what was shown is not."""

import numpy as np
import pytest

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.core.chat import ChatModel
from ophiscope.core.message import Role
from ophiscope.eval.phantoms import Phantom, draw_phantom
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano.reflection import Fault, _is_mended, _move, _shows, measure_reflection, spoil_first
from ophiscope.recipes.nano.tasks import CARD, build_setup
from ophiscope.worlds.looking import Speaker, count_calls


def play(phantom: Phantom, model: ChatModel, fault: Fault | None) -> Outcome:
    setup = build_setup(phantom.case, None)
    serve = None if fault is None else spoil_first(fault, setup, np.random.default_rng(3))
    return collect_episode(phantom.case, model, setup, session="t", serve=serve)


def believe(phantom: Phantom) -> Speaker:
    """Looks once, where the oracle would, and then gives the right answer, whatever was shown."""

    def say(messages: tuple) -> str:  # type: ignore[type-arg]
        if not count_calls(messages):
            return phantom.build_oracle(CARD)._say(messages)
        cited = " [E1]" if any("E1" in message.text for message in messages if message.role is Role.TOOL) else ""
        return f"<think>So.</think>\n<answer>{phantom.key.text}{cited}</answer>"

    return Speaker(CARD, say)


@pytest.mark.parametrize("fault", list(Fault))
def test_only_who_looks_again_is_mended(fault: Fault) -> None:
    mended, believed = [], []
    for seed in range(40, 50):
        phantom = draw_phantom(seed, "L1", whole=False)
        mended.append(_is_mended(play(phantom, phantom.build_oracle(CARD), fault), phantom.key, fault))
        believed.append(_is_mended(play(phantom, believe(phantom), fault), phantom.key, fault))
    if fault is Fault.ELSEWHERE:  # the oracle sees what was shown; of a refusal or a blank picture it knows nothing
        assert sum(mended) >= 9
    assert not any(believed)


def test_the_first_call_is_spoiled_and_no_other() -> None:
    phantom = draw_phantom(41, "L1", whole=False)
    clean = play(phantom, phantom.build_oracle(CARD), None)
    assert _shows(clean.evidence[0], phantom.key)
    spoiled = play(phantom, phantom.build_oracle(CARD), Fault.ELSEWHERE)
    assert [_shows(entry, phantom.key) for entry in spoiled.evidence] == [False, True]
    failed = play(phantom, believe(phantom), Fault.FAILED)
    assert not failed.evidence
    assert "the tool failed; try again" in "".join(message.text for message in failed.messages)
    blank = play(phantom, believe(phantom), Fault.BLANK)
    shown = next(message for message in blank.messages if message.role is Role.TOOL)
    assert np.ptp(shown.views[0].picture.pixels_H_W_3) == 0


def test_a_moved_box_keeps_its_size_and_lies_elsewhere() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        x0, y0, x1, y1 = _move([100, 200, 350, 420], rng)
        assert (x1 - x0, y1 - y0) == pytest.approx((250, 220), abs=1)
        assert x1 <= 101 or x0 >= 349 or y1 <= 201 or y0 >= 419
        assert min(x0, y0) >= 0
        assert max(x1, y1) <= 1000


def test_nano_is_measured() -> None:
    found = measure_reflection(load_local("nano"), 6)
    assert found.right is not None
    assert (found.right.n, set(found.corrected)) == (6, set(Fault))
    for rate in found.corrected.values():
        assert rate is not None
        assert rate.n <= 6
