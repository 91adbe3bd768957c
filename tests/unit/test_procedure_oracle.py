"""Who looks can answer: the oracle sees only the frames that the tools showed it, through the very loop of a model."""

from datetime import UTC, datetime

import numpy as np
import pytest

from ophiscope.agent.assemble import SetupOptions, build_manifest, build_setup
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.core.chat import ModelCard
from ophiscope.ledger.sink import MemorySink
from ophiscope.metrics.answers import Grade, grade
from ophiscope.worlds.procedure_asks import ProcedureKind, pose_procedure
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.procedure_study import build_lazy_procedure

CARD = ModelCard(
    name="oracle",
    family="nano",
    coords="relative_1000",
    patch_px=16,
    max_view_px=160 * 128,
    min_view_px=64 * 48,
    prompt="nano",
    token_exact=False,
    most_frames=20,
    frame_px=64 * 48,
)


def run(kind: ProcedureKind, recipe: ProcedureRecipe, seeds: range) -> list[tuple[Outcome, Grade]]:
    ran = []
    for seed in seeds:
        procedure = draw_procedure(seed, recipe)
        study = build_lazy_procedure(procedure)
        posed = pose_procedure(np.random.default_rng(seed), procedure, study, kind)
        if posed is None:
            continue
        oracle = build_procedure_oracle(procedure, posed.ask, CARD)
        setup = build_setup(posed.case, oracle, None, SetupOptions(tools=("crop_video", "get_frame")))
        sink = MemorySink(build_manifest(setup, seed=0), lambda: datetime.now(UTC))
        outcome = run_episode(Job(posed.case, sink, "s", keeps_media=False), setup, oracle)
        ran.append((outcome, grade(outcome.result, posed.key)))
    return ran


@pytest.mark.parametrize("kind", ProcedureKind)
def test_the_oracle_is_right_by_looking(kind: ProcedureKind) -> None:
    ran = run(kind, ProcedureRecipe(), range(24))
    assert np.mean([graded.correct for _, graded in ran]) >= 0.9
    looking = {ProcedureKind.WHEN, ProcedureKind.INSTRUMENT, ProcedureKind.COLOUR}
    if kind in looking:
        assert all(outcome.valid_calls >= 1 for outcome, _ in ran)
        assert all(outcome.answer is not None for outcome, _ in ran)
        assert np.mean([bool(outcome.answer and outcome.answer.cited) for outcome, _ in ran]) > 0.9


def test_an_hour_is_searched_in_a_few_looks() -> None:
    ran = run(ProcedureKind.WHEN, ProcedureRecipe(least_s=3000, most_s=3600), range(12))
    assert np.mean([graded.score for _, graded in ran]) > 0.85
    assert max(outcome.turns for outcome, _ in ran) <= 5
