"""What an evaluation can change to see what an answer rests on, and what it has to be better than.

Interventions change what tools show, or what the case shows. A change of observations holds for every call of an
episode, from the first on: what a model calls before it has seen anything changed is what it called before.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.agent.drivers import Serve
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.core.study import Study
from ophiscope.core.view import Picture
from ophiscope.eval.arm import Arm, Prepared
from ophiscope.eval.baselines import AlwaysZoom, RandomLooks
from ophiscope.eval.changed_evidence import (
    blank_study,
    lie_about_presence,
    look_at_truth,
    look_elsewhere,
    scramble_picture,
)
from ophiscope.eval.equal_tokens import build_tiles
from ophiscope.eval.interventions import jitter_boxes, recompress_picture, reroute
from ophiscope.eval.items import EvalItem

__all__ = ["BASELINES", "INTERVENTIONS"]

_JITTER = 0.05
_POLICY_SEED = 5
_Build = Callable[[EvalItem, Setup, np.random.Generator], Serve | None]


def _changing(build: _Build) -> Callable[[EvalItem, Setup, np.random.Generator], Prepared | None]:
    """An arm whose tools show something else; left out where ``build`` has nothing to show."""

    def prepare(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
        serve = build(item, setup, rng)
        return None if serve is None else Prepared(replace(item, serve=serve), setup)

    return prepare


def _change_each(change: Callable[[Picture, np.random.Generator], Picture]) -> _Build:
    return lambda item, setup, rng: change_pictures(lambda picture: change(picture, rng))


def _show_elsewhere(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Serve:
    return look_elsewhere(setup, rng)


def _show_foreign(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Serve | None:
    if item.foreign is None:
        return None
    studies = {study.header.study: study for study in item.foreign()}
    return reroute(studies, setup.tools, setup.profile)


def _recase(change: Callable[[EvalItem], tuple[Study, ...] | None]) -> Callable[..., Prepared | None]:
    """An arm whose case, overview and all, shows something else."""

    def prepare(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
        studies = change(item)
        if studies is None:
            return None
        return Prepared(replace(item, case=Case(studies, item.case.question, item.case.options)), setup)

    return prepare


def _blank_case(item: EvalItem) -> tuple[Study, ...] | None:
    blanked = [blank_study(study) for study in item.case.studies]
    return None if any(study is None for study in blanked) else tuple(study for study in blanked if study is not None)


def _only_evidence(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
    """Tools show the truth, the overview shows nothing: is what the tools show enough?"""
    blanked = _blank_case(item)
    if blanked is None:
        return None
    studies = {study.header.study: study for study in item.case.studies}
    case = Case(blanked, item.case.question, item.case.options)
    return Prepared(replace(item, case=case, serve=reroute(studies, setup.tools, setup.profile)), setup)


def _index(*arms: Arm) -> Mapping[str, Arm]:
    return {arm.name: arm for arm in arms}


INTERVENTIONS = _index(
    Arm("no-tools", "no tool at all", tools="none"),
    Arm("blank", "every picture that a tool shows is grey; its text stays",
        _changing(lambda item, setup, rng: change_pictures(blank_picture))),
    Arm("noise", "every picture that a tool shows is noise; its text stays", _changing(_change_each(scramble_picture))),
    Arm("crop", "tools show another place of the same size", _changing(_show_elsewhere)),
    Arm("foreign", "tools show the same place of another case", _changing(_show_foreign)),
    Arm("wrong", "tools that look for a target say the opposite of what they found", _changing(lie_about_presence)),
    Arm("gold", "tools show the true place, whatever was asked", _changing(look_at_truth)),
    Arm("jitter", "boxes are off by up to 5 % of their sides: should change nothing",
        _changing(lambda item, setup, rng: jitter_boxes(_JITTER, rng, setup.tools, setup.profile))),
    Arm("jpeg", "pictures that tools show went through JPEG at quality 75: should change nothing",
        _changing(lambda item, setup, rng: change_pictures(recompress_picture))),
    Arm("evidence-only", "the overview is blank, tools show the truth", _only_evidence),
    Arm("blank-image", "the whole case is blank", _recase(_blank_case)),
    Arm("shuffled-image", "the case shows another one's pictures",
        _recase(lambda item: None if item.foreign is None else item.foreign())),
)  # fmt: skip
"""What the tools or the case show is changed."""


def _ask_oracle(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
    return None if item.build_oracle is None else Prepared(item, setup, item.build_oracle(setup.card))


def _wander(model: ChatModel) -> ChatModel:
    return RandomLooks(model, seed=_POLICY_SEED)


BASELINES = _index(
    Arm("oracle", "the world's own way to look and answer", _ask_oracle),
    Arm("random-zoom", "the model's boxes, stretches and moments are moved to random places", prepare_model=_wander),
    Arm("always-zoom", "the first reply is a zoom into the middle half", prepare_model=AlwaysZoom),
    Arm("text-only", "tools give their text without pictures", _changing(
        lambda item, setup, rng: change_pictures(blank_picture))),
    build_tiles(2, 2),
)  # fmt: skip
"""What a model has to be better than; those of other sizes by :func:`~ophiscope.eval.equal_tokens.parse_equal`."""
