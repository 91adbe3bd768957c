"""Runs of benchmarks: nothing lost, nothing twice, failures counted apart, reports that are the same bytes."""

import json
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from eval_cases import RuleModel, build_item, list_sources, open_test_run
from ophiscope.errors import CheckFailed, ModelFailed, WrongInput
from ophiscope.eval.arms import BASELINES, INTERVENTIONS
from ophiscope.eval.comparison import compare_runs
from ophiscope.eval.items import ItemSource
from ophiscope.eval.protocol import describe_difference
from ophiscope.eval.reporting.assemble import build_report
from ophiscope.eval.reporting.markdown import render_markdown
from ophiscope.eval.results import RESULTS, read_results
from ophiscope.eval.run import RunOptions, run_arm
from ophiscope.ledger.verify import verify

ROOT = Path(__file__).parents[2]


def say_yes(text: str) -> str:
    return "yes"


def know(text: str) -> str:
    number = int(text.split("Is ")[1].split(" even", maxsplit=1)[0])
    return "no" if number % 2 else "yes"


def test_a_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    model = RuleModel(say_yes)
    run_arm(open_test_run(10, model, limit=4), tmp_path / "four", options=RunOptions(width=3))
    assert model.asked == 4
    run = open_test_run(10, model)
    first = run_arm(run, tmp_path / "all", options=RunOptions(width=3))
    asked = model.asked
    again = run_arm(run, tmp_path / "all", options=RunOptions(width=3))
    assert (len(first), model.asked) == (10, asked)
    assert again == first
    assert sum(bool(record.correct) for record in first.values()) == 5


def test_a_torn_line_is_run_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    run = open_test_run(6, RuleModel(say_yes))
    run_arm(run, tmp_path / "e")
    whole = build_report(tmp_path / "e")
    path = tmp_path / "e" / RESULTS
    path.write_bytes(path.read_bytes()[:-40])
    assert len(run_arm(run, tmp_path / "e")) == 6
    assert build_report(tmp_path / "e") == whole
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    with pytest.raises(CheckFailed, match="line 2 is damaged"):
        run_arm(run, tmp_path / "e")


def test_another_protocol_is_refused_with_what_differs(tmp_path: Path) -> None:
    run = open_test_run(4, RuleModel(say_yes))
    run_arm(run, tmp_path / "e")
    other = open_test_run(4, RuleModel(say_yes), tools="none", max_turns=3)
    assert describe_difference(run.build_protocol(), other.build_protocol()) == [
        "segmenter",
        "tools",
        "limits.max_turns",
    ]
    with pytest.raises(WrongInput, match="another segmenter, tools, limits"):
        run_arm(other, tmp_path / "e")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("hello")
    with pytest.raises(WrongInput, match="no evaluation"):
        run_arm(run, tmp_path / "other")


def test_a_question_that_cannot_be_opened_is_wrong_and_counted_apart(tmp_path: Path) -> None:
    def fail() -> None:
        raise WrongInput("the picture is not there")

    sources = [*list_sources(5), ItemSource("gone", fail, "picture 9")]  # type: ignore[arg-type]
    run_arm(open_test_run(6, RuleModel(know), sources=sources), tmp_path / "e")
    report = build_report(tmp_path / "e")
    counts = {row.label: row.numbers[0].value for row in report.find_table("counts").rows}  # type: ignore[union-attr]
    assert (counts["samples"], counts["scored"], counts["failed"], counts["unscored"]) == (6, 6, 1, 0)
    accuracy = report.find_table("accuracy")
    assert accuracy is not None
    assert accuracy.rows[0].numbers[0].value == pytest.approx(5 / 6)


def test_a_model_that_dies_ends_the_run_and_costs_no_sample(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="12 times in a row"):
        run_arm(open_test_run(60, RuleModel(know, dies_after=25)), tmp_path / "e", options=RunOptions(width=4))
    kept = read_results(tmp_path / "e")
    assert 20 <= len(kept) <= 25
    assert all(record.failure is None for record in kept.values())
    done = run_arm(open_test_run(60, RuleModel(know)), tmp_path / "e")
    assert len(done) == 60
    assert all(record.correct for record in done.values())


def test_seeds_are_samples_of_their_own(tmp_path: Path) -> None:
    run_arm(open_test_run(4, RuleModel(know), seeds=3), tmp_path / "e")
    report = build_report(tmp_path / "e")
    seeds = report.find_table("seeds")
    assert seeds is not None
    assert [row.label for row in seeds.rows] == ["seed 0", "seed 1", "seed 2", "sd between seeds"]
    assert seeds.rows[-1].numbers[0].value == 0.0


def test_traces_of_the_ends_are_kept_and_verify(tmp_path: Path) -> None:
    run = open_test_run(12, RuleModel(say_yes, looks=True))
    run_arm(run, tmp_path / "e", options=RunOptions(traces=2))
    kept = sorted(path.name for path in (tmp_path / "e" / "traces").iterdir())
    assert kept == ["q0-seed0", "q1-seed0", "q10-seed0", "q11-seed0"]
    assert all(verify(tmp_path / "e" / "traces" / name).intact for name in kept)
    run_arm(run, tmp_path / "none", options=RunOptions(traces=0))
    assert not (tmp_path / "none" / "traces").exists()


def test_arms_say_what_evidence_is_worth(tmp_path: Path) -> None:
    run = open_test_run(8, RuleModel(know, looks=True))
    run_arm(run, tmp_path / "e")
    for arm in (INTERVENTIONS["no-tools"], INTERVENTIONS["blank"], INTERVENTIONS["gold"], BASELINES["always-zoom"]):
        run_arm(run, tmp_path / "e", arm)
    report = build_report(tmp_path / "e")
    arms = report.find_table("arms")
    assert arms is not None
    found = {row.label: row for row in arms.rows}
    # this model knows by itself: nothing that is shown changes its answers
    assert found["blank"].numbers[1].value == 0.0
    assert found["no-tools"].numbers[0].n == 8
    assert set(report.arms) == {"no-tools", "blank", "gold", "always-zoom"}
    evidence = report.find_table("evidence")
    assert evidence is not None
    assert evidence.rows[0].label == "Acc@Evidence(0.3)"
    assert "decomposition" in {table.key for table in report.tables}


def test_comparison_is_paired_and_signed(tmp_path: Path) -> None:
    run_arm(open_test_run(30, RuleModel(know)), tmp_path / "knows")
    run_arm(open_test_run(30, RuleModel(say_yes)), tmp_path / "yes")
    found = compare_runs(tmp_path / "knows", tmp_path / "yes")
    assert (found.n, found.clusters, found.only_a, found.only_b) == (30, 10, 15, 0)
    assert found.difference == pytest.approx(0.5)
    assert found.ci95[0] > 0.3
    assert found.p == pytest.approx(2 * 0.5**15)
    assert found.parts["odd"].difference == 1.0
    assert compare_runs(tmp_path / "yes", tmp_path / "knows").difference == pytest.approx(-0.5)
    run_arm(open_test_run(12, RuleModel(know)), tmp_path / "fewer")
    with pytest.raises(WrongInput, match="other questions"):
        compare_runs(tmp_path / "knows", tmp_path / "fewer")


def test_every_number_of_a_report_has_n_and_an_interval_or_is_a_count(tmp_path: Path) -> None:
    run_arm(open_test_run(20, RuleModel(say_yes, looks=True)), tmp_path / "e")
    report = build_report(tmp_path / "e")
    for table in report.tables:
        for row in table.rows:
            for number in row.numbers:
                if number.value is not None and not number.whole:
                    assert number.n > 0, (table.key, row.label)
                    assert number.low is not None, (table.key, row.label)
                    assert number.low <= number.value + 1e-9, (table.key, row.label)
    assert "not for diagnosis" in render_markdown(report)


def test_unscored_is_never_zero(tmp_path: Path) -> None:
    from dataclasses import replace

    def build() -> object:
        item = build_item(2)
        return replace(item, key=replace(item.key, text=""))

    sources = [*list_sources(3), ItemSource("open", build)]  # type: ignore[arg-type]
    run_arm(open_test_run(4, RuleModel(know), sources=sources), tmp_path / "e")
    accuracy = build_report(tmp_path / "e").find_table("accuracy")
    assert accuracy is not None
    assert (accuracy.rows[0].numbers[0].n, accuracy.rows[0].numbers[0].value) == (3, 1.0)


_KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from eval_cases import RuleModel, open_test_run
from ophiscope.eval.run import RunOptions, run_arm
rule = lambda text: "yes"
run_arm(open_test_run(int(sys.argv[2]), RuleModel(rule, looks=True)), Path(sys.argv[1]), options=RunOptions(traces=3))
"""


def kill_and_resume(folder: Path, n: int, kills: int, seed: int) -> int:
    """Kill a run at random moments, then let it end; how many kills met it."""
    rng = random.Random(seed)
    command = [sys.executable, "-c", textwrap.dedent(_KILLED).format(tests=str(ROOT / "tests")), str(folder), str(n)]
    met = 0
    for _ in range(kills):
        before = (folder / RESULTS).stat().st_size if (folder / RESULTS).exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # wait until it works, then a moment by chance
        until = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < until:
            if (folder / RESULTS).exists() and (folder / RESULTS).stat().st_size > before:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.05))
        if process.poll() is None:
            process.kill()
            met += 1
        process.wait()
        if process.returncode == 0:
            break
    subprocess.run(command, check=True, timeout=300)
    return met


def check_kills(tmp_path: Path, n: int, kills: int) -> int:
    run_arm(open_test_run(n, RuleModel(say_yes, looks=True)), tmp_path / "calm", options=RunOptions(traces=3))
    met = kill_and_resume(tmp_path / "killed", n, kills, seed=1)
    lines = (tmp_path / "killed" / RESULTS).read_text().splitlines()
    keys = [(json.loads(line)["name"], json.loads(line)["seed"]) for line in lines]
    assert len(keys) == len(set(keys)) == n
    calm, killed = build_report(tmp_path / "calm"), build_report(tmp_path / "killed")
    assert killed.model_dump_json() == calm.model_dump_json()
    traces = [sorted(path.name for path in (tmp_path / name / "traces").iterdir()) for name in ("calm", "killed")]
    assert traces[0] == traces[1]
    return met


@pytest.mark.soak
def test_kills_lose_nothing_and_the_report_is_the_same_bytes(tmp_path: Path) -> None:
    assert check_kills(tmp_path, 300, 5) >= 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    met = 0
    for turn in range(50):
        met += check_kills(tmp_path / str(turn), 1000, 10)
    assert met >= 300
