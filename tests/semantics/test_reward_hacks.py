"""What pays: under our rewards looking and telling the truth, by a margin; under the papers' some tricks too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hack_policies import TRICKS_IMAGE, TRICKS_VIDEO, Scene, Uncited, trick
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, Reply, Request
from ophiscope.eval.phantoms import draw_phantom
from ophiscope.recipes.nano.tasks import CARD as IMAGE_CARD
from ophiscope.recipes.nano.tasks import build_setup as build_image_setup
from ophiscope.recipes.nano_video.items import set_up
from ophiscope.recipes.nano_video.shape import CARD as VIDEO_CARD
from ophiscope.train.presets import PRESETS
from ophiscope.train.reward_facts import EpisodeFacts, Looked, build_facts
from ophiscope.train.rewards import atrl_paper, compute_paper_evidence
from ophiscope.worlds.draw import Needle
from ophiscope.worlds.looking import Speaker
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.tasks import SHORT, draw_video_task

N = 16
MARGIN = 0.4
"""Of a mean reward; the most that one episode can earn is 1.6 (2.1 with credit)."""
OURS = ("atrl", "ga_grpo")
KINDS = (ProcedureKind.WHEN, ProcedureKind.COLOUR, ProcedureKind.INSTRUMENT)


def guess(case: Case, length_s: float) -> str:
    if case.options:
        return case.options[0]
    if case.question.startswith("When"):
        return f"interval {length_s * 0.2:.1f}-{length_s * 0.8:.1f} s"
    return "1" if case.question.startswith("How") else "no"


def play(case: Case, key: AnswerKey, setup: Setup, model: ChatModel) -> EpisodeFacts:
    return build_facts(collect_episode(case, model, setup, session="s"), key)


@cache
def play_videos() -> dict[str, list[EpisodeFacts]]:
    """All policies on the same questions; the reference, who never looks, is asked once for each."""
    facts: dict[str, list[EpisodeFacts]] = {name: [] for name in ("honest", "cites nothing", *TRICKS_VIDEO)}
    for seed in range(N):
        task = draw_video_task(seed, KINDS[seed % len(KINDS)], SHORT)
        oracle = build_procedure_oracle(task.procedure, task.ask, VIDEO_CARD)
        length_s = task.procedure.duration_s

        def scene() -> Scene:
            said = guess(task.case, length_s)  # noqa: B023 (used before the next turn)
            return Scene(said, task.case.question, task.case.options, length_s=length_s, seed=seed)  # noqa: B023

        models: dict[str, ChatModel] = {"honest": oracle, "cites nothing": Uncited(oracle)}
        models |= {name: trick(plan, scene(), VIDEO_CARD) for name, plan in TRICKS_VIDEO.items()}
        add(facts, models, task.case, task.key, lambda model, case=task.case: set_up(case, model))
    return facts


@cache
def play_images() -> dict[str, list[EpisodeFacts]]:
    facts: dict[str, list[EpisodeFacts]] = {name: [] for name in ("honest", "cites nothing", *TRICKS_IMAGE)}
    for seed in range(N):
        phantom = draw_phantom(seed, (Needle.L1, Needle.L2)[seed % 2], whole=False)
        oracle, case = phantom.build_oracle(IMAGE_CARD), phantom.case
        models: dict[str, ChatModel] = {"honest": oracle, "cites nothing": Uncited(oracle)}
        for name, plan in TRICKS_IMAGE.items():
            models[name] = trick(plan, Scene(guess(case, 0), case.question, case.options, seed=seed), IMAGE_CARD)
        add(facts, models, case, phantom.key, lambda _, case=case: build_image_setup(case, None))
    return facts


def add(
    facts: dict[str, list[EpisodeFacts]],
    models: dict[str, ChatModel],
    case: Case,
    key: AnswerKey,
    build: Callable[[ChatModel], Setup],
) -> None:
    played = {name: play(case, key, build(model), model) for name, model in models.items()}
    reference = played["never looks"].score
    for name, mine in played.items():
        facts[name].append(mine.with_reference(reference))


def mean_rewards(preset: str, facts: dict[str, list[EpisodeFacts]]) -> dict[str, float]:
    rule = PRESETS[preset].reward
    return {name: float(np.mean([sum(rule(one).values()) for one in mine])) for name, mine in facts.items()}


@pytest.mark.parametrize("preset", OURS)
@pytest.mark.parametrize("played", [play_videos, play_images])
def test_under_our_rewards_honesty_pays_most(preset: str, played: Callable[[], dict[str, list[EpisodeFacts]]]) -> None:
    mean = mean_rewards(preset, played())
    assert mean["honest"] > 1.2, mean
    for name in mean.keys() - {"honest"}:
        assert mean["honest"] - mean[name] >= (0.15 if name == "cites nothing" else MARGIN), (name, mean)


@pytest.mark.parametrize("played", [play_videos, play_images])
def test_no_trick_moves_a_group_towards_itself(played: Callable[[], dict[str, list[EpisodeFacts]]]) -> None:
    """In groups of one honest episode and seven of a trick, the honest one mostly has the greatest advantage: not where
    the trick guessed right and the oracle cited loosely."""
    facts = played()
    for preset in OURS:
        for name in facts.keys() - {"honest", "cites nothing"}:
            won = []
            for honest, tricky in zip(facts["honest"], facts[name], strict=True):
                advantages = PRESETS[preset].score([honest] + [tricky] * 7).advantages_G
                won.append(advantages[0] > advantages[1])
            assert np.mean(won) >= 0.8, (preset, name)


def test_a_saboteur_of_the_branch_without_tools_earns_nothing_from_a_frozen_reference() -> None:
    """It could answer at once, and answers wrongly unless it was shown something."""
    easy = EpisodeFacts(correct=True, score=1.0, without=1.0)
    saboteur = replace(easy, calls=1, served=1)
    ours = PRESETS["atrl"].reward
    assert sum(ours(saboteur).values()) < sum(ours(easy).values())
    own_branch = replace(saboteur, without=0.0)  # were its own answer the measure
    assert sum(ours(own_branch).values()) > sum(ours(easy).values()) + 0.4


def test_what_pays_under_the_rewards_of_the_papers() -> None:
    """Known hacks of the published forms, kept as facts: a change here is a change of the preset."""
    easy = EpisodeFacts(correct=True, score=1.0)
    useless_look = replace(easy, calls=1, served=1)
    assert sum(atrl_paper(useless_look).values()) - sum(atrl_paper(easy).values()) == 2.0
    # half a fit is worse than no look at all
    half = EpisodeFacts(truth=(10.0, 20.0), looked=(Looked(stretch=(10.0, 14.0)),), served=1, calls=1)
    assert compute_paper_evidence(half) < compute_paper_evidence(EpisodeFacts(truth=(10.0, 20.0)))
    # looking well and answering nonsense beats the right answer from elsewhere
    paper = PRESETS["ga_grpo_paper"].reward
    nonsense = replace(half, looked=(Looked(stretch=(10.0, 20.0)), Looked(place=15.0)))
    assert sum(paper(nonsense).values()) > sum(paper(replace(half, correct=True, score=1.0, looked=())).values())
    videos = mean_rewards("ga_grpo_paper", play_videos())
    assert videos["cites nothing"] == pytest.approx(videos["honest"])  # what is cited does not matter there


def test_ground_truth_reaches_rewards_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are built after the episode, from its outcome and the key; the loop is given neither."""
    task = draw_video_task(1, ProcedureKind.WHEN, SHORT)
    oracle = build_procedure_oracle(task.procedure, task.ask, VIDEO_CARD)
    setup = set_up(task.case, oracle)
    seen: list[str] = []

    def sample(requests: Sequence[Request]) -> list[Reply]:
        seen.extend(message.text for request in requests for message in request.messages)
        return Speaker.sample(oracle, requests)

    monkeypatch.setattr(oracle, "sample", sample)
    outcome = collect_episode(task.case, oracle, setup, session="s")
    assert any(task.case.question in text for text in seen)
    assert not any(task.key.text in text for text in seen)
    assert build_facts(outcome, task.key).correct
