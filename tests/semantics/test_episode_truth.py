"""The truth of a case cannot be reached from its episode: its whole state is pickled and searched for canary keys."""

import ast
import gc
import pickle
from pathlib import Path
from types import FunctionType, GeneratorType, ModuleType

import numpy as np

import ophiscope
from episode_cases import SEGMENT, ZOOM, build_memory_sink, build_test_setup
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.loop import Episode
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import Request
from ophiscope.core.frame import Frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.result import ResultKind
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.runner import run_items
from ophiscope.media.sources import build_array_study
from ophiscope.models.scripted import ScriptedModel

CANARY = "canary-8d1f0b52-truth"
CANARY_BYTES = np.frombuffer(b"\x9dcanary-mask-7e\x02" * 4, np.uint8)
_SEALED = ("agent", "tools", "models", "protocol", "ledger", "media")


def dump_state(*things: object) -> bytes:
    """Every value that can be reached from ``things``, pickled: fields, containers, closures, running frames.

    Modules, classes and the globals of functions are left out: they are code, and the same in every episode.
    """
    waiting, seen, leaves = list(things), set[int](), []
    held: list[object] = []  # keeps what is made on the way alive, so that no id is used twice
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, ModuleType | type):
            continue
        seen.add(id(thing))
        held.append(thing)
        if isinstance(thing, str | bytes | bytearray | int | float | np.ndarray | np.generic):
            leaves.append(thing)
        elif isinstance(thing, FunctionType):
            waiting += [cell.cell_contents for cell in thing.__closure__ or ()]
            waiting += [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        elif isinstance(thing, GeneratorType):
            waiting += [*(thing.gi_frame.f_locals.values() if thing.gi_frame else ()), thing.gi_yieldfrom]
        else:
            waiting += gc.get_referents(thing)
    return pickle.dumps(leaves)


def build_case_and_key() -> tuple[Case, AnswerKey]:
    array = np.full((96, 128, 3), 30, np.uint8)
    array[30:60, 50:90] = 230
    study = build_array_study(array)
    frame = Frame(study.header.root, (CANARY_BYTES.size, 8))
    bits = np.unpackbits(CANARY_BYTES).reshape(8, -1).astype(bool)
    key = AnswerKey(
        ResultKind.TEXT, CANARY, Mask(frame, bits), (Box(frame, 1, 1, 2, 2),), needed_tools=(CANARY,), group=CANARY
    )
    return Case((study,), "What is it?"), key


def test_no_canary_is_reachable_while_an_episode_runs() -> None:
    case, key = build_case_and_key()
    states: list[bytes] = []

    def say(request: Request) -> str:
        episodes = [thing for thing in gc.get_objects() if type(thing) is Episode]
        assert episodes
        states.append(dump_state(request, case, setup, sink, job, episodes, model))
        return [ZOOM, SEGMENT, "<answer>a square [E2]</answer>"][(len(request.messages) - 2) // 2]

    model = ScriptedModel(say)
    setup = build_test_setup(case, model)
    sink = build_memory_sink(setup)
    job = Job(case, sink, "truth")
    outcome = run_episode(job, setup, model)
    states.append(dump_state(outcome, sink.trace))
    assert len(states) == 4
    mask_bytes = key.mask.bits_H_W.tobytes() if key.mask is not None else b""
    for state in states:
        assert b"What is it?" in state
        assert CANARY.encode() not in state
        assert mask_bytes not in state
        assert CANARY_BYTES.tobytes() not in state


def test_no_canary_is_reachable_where_case_and_key_lie_side_by_side() -> None:
    """Evaluation holds both; what it gives to the model, and all that the episode then reaches, must not lead back."""
    case, key = build_case_and_key()
    states: list[bytes] = []

    def say(request: Request) -> str:
        episodes = [thing for thing in gc.get_objects() if type(thing) is Episode]
        states.append(dump_state(request, episodes, model))
        return [ZOOM, SEGMENT, "<answer>a square [E2]</answer>"][(len(request.messages) - 2) // 2]

    model = ScriptedModel(say)
    source = ItemSource("one", lambda: EvalItem(case, key))
    (record,) = run_items([source], model, lambda case: build_test_setup(case, model))
    assert record.name == "one"
    assert len(states) == 3
    for state in states:
        assert b"What is it?" in state
        assert CANARY.encode() not in state
        assert CANARY_BYTES.tobytes() not in state


def test_the_search_would_find_a_canary() -> None:
    case, key = build_case_and_key()
    model = ScriptedModel(["<answer>x</answer>"])
    setup = build_test_setup(case, model)
    leaky = Episode(Case(case.studies, CANARY), setup, session="s", seed=0, manifest_sha256="0" * 64)
    assert CANARY.encode() in dump_state(leaky)
    assert CANARY.encode() in dump_state({"deep": [key]})
    assert key.mask is not None
    assert key.mask.bits_H_W.tobytes() in dump_state(key)


def test_no_sealed_room_names_the_answer_key() -> None:
    root = Path(ophiscope.__file__).parent
    for room in _SEALED:
        for path in (root / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
                assert not any("answer_key" in name or name == "AnswerKey" for name in names), path
