"""Sets with a teacher: a server that speaks the real wire format, and misbehaves."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media_files import encode_dicom
from ophiscope.data.finished import open_set
from ophiscope.data.stats import compute_stats
from ophiscope.data.validate import validate_set
from ophiscope.errors import WrongInput
from set_cases import build, draw_blob, read_lines, write_video
from stub_openai import Fault, StubServer


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", seconds=40, frames_per_s=2, size_wh=(64, 48))
    rows = ["start,end,label", "2,9,cut", "9,20,sew", "22,30,tie"]
    (folder / "a.csv").write_text("\n".join(rows) + "\n")
    return folder


MARKS = ("relevance", "evidence", "clarity", "timing")


def _read_text(body: dict) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Teacher:
    """Answers every stage sensibly; ``spoil`` may change what it says to one of them."""

    def __init__(self, spoil=None):
        self.spoil = spoil or (lambda stage, said: said)
        self.asked: list[str] = []

    def __call__(self, body: dict) -> str:
        text = _read_text(body)
        stage, said = self._answer(text, body)
        self.asked.append(stage)
        said = self.spoil(stage, said)
        return said if isinstance(said, str) else json.dumps(said)

    def _answer(self, text: str, body: dict):
        if "captioned" in text:
            return "merge", {"same": False}
        if "Say in one sentence" in text:
            return "caption", {"caption": f"The team performs step {len(self.asked)}."}
        if "Write one question" in text:
            times = [float(found) for found in re.findall(r"([0-9.]+) s: ", text)]
            said = {
                "question": "Which needle is held?",
                "answer": "a curved one",
                "start_s": times[0],
                "end_s": times[-1],
            }
            return "question", said
        if "Judge the question" in text:
            return "text", {"keep": True, "reason": "plain"}
        if "Give each mark" in text:
            return "visual", dict.fromkeys(MARKS, 0.9)
        if "from these frames alone" in text:
            first = float(re.findall(r"([0-9.]+) s: ", text)[0])
            return "sufficiency", {"answer": "a curved one" if first > 1.0 else "unknown"}
        if "Do both answers" in text:
            return "same", {"same": False}
        return "episode", "<think>I see it.</think><answer>a curved one</answer>"


def test_all_stages(tmp_path, source):
    teacher = Teacher()
    with StubServer(teacher) as stub:
        build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
    assert stub.complaints == []
    finished = open_set(tmp_path / "set")
    assert validate_set(finished) == []
    kinds = finished.manifest["kinds"]
    assert kinds["caption"] == 3
    assert kinds["question"] >= 1
    assert kinds["cot"] >= 1
    stats = compute_stats(finished)
    assert stats.rejected["sufficiency", "evidence does not suffice"] == 0
    question = next(record for record in read_lines(tmp_path / "set") if record["kind"] == "question")
    assert question["origin"]["teacher"] == stub.model_argument
    assert question["scores"]["timing"] == 0.9
    assert question["media"][0].endswith(".mkv")


SPOILED = {
    "caption": ("no JSON at all", "caption", "teacher wrote no JSON"),
    "question fields": ({"question": "What?"}, "question", "teacher wrote other fields"),
    "question types": (
        {"question": "What?", "answer": "x", "start_s": "soon", "end_s": 9}, "question", "teacher wrote another type",
    ),
    "question reversed": (
        {"question": "What?", "answer": "x", "start_s": 9, "end_s": 3}, "question", "reversed window",
    ),
    "question elsewhere": (
        {"question": "What?", "answer": "x", "start_s": 100, "end_s": 130}, "question", "window outside of its event",
    ),
    "text": ({"keep": False, "reason": "common sense"}, "text", "text judge"),
    "visual": (dict.fromkeys(MARKS, 0.5), "visual", "visual judge"),
    "visual marks": (dict.fromkeys(MARKS, 7), "visual", "visual judge gave no marks"),
    "sufficiency": ({"answer": "unknown"}, "sufficiency", "evidence does not suffice"),
    "episode": ("<answer>a straight one</answer>", "accept", "wrong answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_what_a_teacher_gets_wrong_is_kept_with_its_reason(tmp_path, source, name):
    said, stage, reason = SPOILED[name]
    which = name.split()[0]
    with StubServer(Teacher(lambda asked, good: said if asked == which else good)) as stub:
        build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
    finished = open_set(tmp_path / "set")
    stats = compute_stats(finished)
    assert stats.rejected[stage, reason] >= 1, stats.rejected
    assert stats.drafted == stats.kept + stats.rejected.total()
    assert validate_set(finished) == []


def test_leaks_and_times_are_rejected_by_words(tmp_path, source):
    questions = iter(("Is it a curved one?", "What is held at 12 s?", "Which needle is held?"))

    def spoil(stage, good):
        return good | {"question": next(questions)} if stage == "question" else good

    with StubServer(Teacher(spoil)) as stub:
        build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
    rejected = compute_stats(open_set(tmp_path / "set")).rejected
    assert rejected["text", "the question gives the answer away"] == 1
    assert rejected["text", "a time in the question"] == 1


def test_the_teacher_never_sees_the_key_in_an_episode(tmp_path, source):
    seen: list[str] = []

    class Watching(Teacher):
        def __call__(self, body):
            said = super().__call__(body)
            if self.asked[-1] == "episode":
                seen.append(json.dumps(body["messages"][:2]))
            return said

    with StubServer(Watching()) as stub:
        build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
    assert seen
    assert not any("curved" in text for text in seen)


def test_outages_are_told_and_the_build_ends(tmp_path, source):
    with StubServer(Teacher(), faults=[Fault.STATUS_400] * 3) as stub:
        build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
    rejected = compute_stats(open_set(tmp_path / "set")).rejected
    assert rejected["caption", "teacher failed"] == 3


def test_a_budget_stops_cleanly_and_nothing_is_asked_twice(tmp_path, source):
    teacher = Teacher()
    with StubServer(teacher) as stub:
        first = build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument, budget_calls=7)
        assert "budget of 7 calls" in first.stopped
        assert len(teacher.asked) == 7
        second = build(tmp_path / "set", "clinical_video", source, teacher=stub.model_argument)
        hits = len(teacher.asked)
        assert second.stopped == ""
        other = build(tmp_path / "whole", "clinical_video", source, teacher=stub.model_argument)
    assert hits == len(teacher.asked) - hits
    assert other.records == second.records


def test_pictures_of_dicom_do_not_leave_unasked(tmp_path):
    (tmp_path / "source" / "images").mkdir(parents=True)
    (tmp_path / "source" / "masks").mkdir()
    (tmp_path / "source" / "images" / "a.dcm").write_bytes(
        encode_dicom(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    )
    Image.fromarray(draw_blob(64, (4, 6, 20, 18))).save(tmp_path / "source" / "masks" / "a.png")
    asked = {"teacher": "openai:http://192.0.2.7:9/v1#model", "segmenter": "classical"}
    build(tmp_path / "set", "picture_trajectories", tmp_path / "source", **asked)
    (lost,) = open_set(tmp_path / "set").read_rejected()
    assert lost.reason == "refused: WrongInput"
    assert "--allow-egress" in lost.detail


def test_a_model_may_play_what_is_drawn(tmp_path):
    with StubServer(["<think>I look.</think><answer>yes</answer>"] * 3) as stub:
        build(tmp_path / "set", "phantom_image", teacher=stub.model_argument, limit=4)
        build(tmp_path / "videos", "phantom_video_suite", teacher=stub.model_argument, limit=1)
    for folder in ("set", "videos"):
        finished = open_set(tmp_path / folder)
        assert validate_set(finished) == []
        stats = compute_stats(finished)
        assert stats.rejected.total() > 0
        assert "oracle" not in stats.counts.get("teacher", {})


def test_what_a_model_did_wrong_is_mended_by_who_knows(tmp_path):
    box = '{"name": "zoom_in", "arguments": {"view": 1, "box": [10, 10, 200, 200]}}'

    def say(body: dict) -> str:
        begun = any(message["role"] == "assistant" for message in body["messages"])
        return (
            "<think>So.</think><answer>7777</answer>" if begun else f"<think>Here.</think><tool_call>{box}</tool_call>"
        )

    with StubServer(say) as stub:
        build(tmp_path / "set", "phantom_image", teacher=stub.model_argument, limit=8)
    finished = open_set(tmp_path / "set")
    assert validate_set(finished) == []
    kept = list(finished.read())
    assert kept
    for record in kept:
        assert record.origin.teacher == f"{stub.model_argument}, mended by the oracle"
        said = [turn for turn in record.turns if turn.role == "assistant"]
        assert [turn.learned for turn in said] == [False] + [True] * (len(said) - 1)
        assert "[10, 10, 200, 200]" in said[0].text
        assert record.answer in said[-1].text or record.answer in ("box", "mask")
    assert sum(n for (stage, _), n in compute_stats(finished).rejected.items() if stage == "accept") == 8


def test_who_asks_nobody_says_so(tmp_path):
    with pytest.raises(WrongInput, match="asks no model"):
        build(tmp_path / "set", "picture_vqa", tmp_path, teacher="nano")
