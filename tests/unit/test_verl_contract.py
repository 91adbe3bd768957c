"""What integrations/verl calls exists in verl's wheel, which is only read; tool and reward really play."""

import ast
import asyncio
import importlib.util
import re
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

uvicorn = pytest.importorskip("uvicorn", reason="serving episodes is an extra")

from ophiscope import env  # noqa: E402
from ophiscope.apps.env_server import build_app  # noqa: E402
from ophiscope.recipes.tasks import build_draw  # noqa: E402
from ophiscope.train.presets import PRESETS  # noqa: E402
from ophiscope.train.reward_facts import EpisodeFacts  # noqa: E402

HERE = Path(__file__).parents[2] / "integrations" / "verl"
TASK = "phantom-image/L1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-cache-dir",
        "-d",
        folder,
        "verl==0.9.1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("verl's wheel cannot be had here")
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def _read(wheel: zipfile.ZipFile, path: str) -> ast.Module:
    return ast.parse(wheel.read(f"verl/{path}"))


def _find(tree: ast.AST, name: str) -> Any:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return next(node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name)


def _arguments(function: Any) -> list[str]:
    return [argument.arg for argument in function.args.args]


def test_a_tool_is_called_as_ours_expects(wheel: zipfile.ZipFile) -> None:
    base = _find(_read(wheel, "tools/base_tool.py"), "BaseTool")
    execute = _find(base, "execute")
    assert isinstance(execute, ast.AsyncFunctionDef)
    assert _arguments(execute) == ["self", "instance_id", "parameters"]
    assert execute.args.kwarg is not None
    assert _arguments(_find(base, "__init__")) == ["self", "config", "tool_schema"]
    response = _find(_read(wheel, "tools/schemas.py"), "ToolResponse")
    assert {"text", "image"} <= {node.target.id for node in response.body if isinstance(node, ast.AnnAssign)}
    loop = ast.unparse(_find(_read(wheel, "experimental/agent_loop/tool_agent_loop.py"), "ToolAgentLoop"))
    assert "await tool.execute(instance_id, tool_args, agent_data=agent_data)" in loop
    assert "extra_fields=agent_data.extra_fields" in loop
    data = _find(_read(wheel, "experimental/agent_loop/tool_agent_loop.py"), "AgentData")
    assert {"tools_kwargs"} <= set(_arguments(_find(data, "__init__")))


def test_the_reward_gets_what_ours_reads(wheel: zipfile.ZipFile) -> None:
    manager = ast.unparse(_find(_read(wheel, "experimental/reward_loop/reward_manager/naive.py"), "run_single"))
    assert "extra_info.update(tool_extra_fields.items())" in manager
    given = ("data_source=", "solution_str=", "ground_truth=", "extra_info=")
    assert all(name in manager for name in given)
    assert "inspect.iscoroutinefunction(self.compute_score)" in ast.unparse(
        _find(_read(wheel, "experimental/reward_loop/reward_manager/naive.py"), "NaiveRewardManager")
    )
    ours = _find(ast.parse((HERE / "ophiscope_reward.py").read_text("utf-8")), "compute_score")
    assert _arguments(ours) == ["data_source", "solution_str", "ground_truth", "extra_info"]
    assert 'result["score"]' in manager.replace("'", '"')


def test_the_trainer_overrides_a_step_that_is_there(wheel: zipfile.ZipFile) -> None:
    base = _read(wheel, "trainer/ppo/v1/trainer_base.py")
    step = _find(base, "_compute_advantage")
    assert _arguments(step) == ["self", "batch", "metrics"]
    body = ast.unparse(step)
    for used in ("tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=", '"rm_scores"'):
        assert used in body.replace("'", '"')
    assert "tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=output)" in body
    assert '"extra_fields"' in ast.unparse(base).replace("'", '"')
    assert _arguments(_find(base, "register_trainer")) == ["name"]
    assert _arguments(_find(_read(wheel, "workers/utils/padding.py"), "response_to_nested")) == [
        "tensor",
        "response_mask",
    ]
    sync = _find(_read(wheel, "trainer/ppo/v1/trainer_sync.py"), "PPOTrainerSync")
    assert not any(getattr(node, "name", "") == "_compute_advantage" for node in sync.body)


def test_every_key_of_the_command_is_a_key_of_the_config(wheel: zipfile.ZipFile) -> None:
    known = yaml.safe_load(wheel.read("verl/trainer/config/_generated_ppo_trainer.yaml"))
    keys = re.findall(r"([a-z_0-9]+(?:\.[a-z_0-9]+)+)=", (HERE / "train.sh").read_text("utf-8"))
    assert len(keys) > 20
    for key in keys:
        part = known
        for name in key.split("."):
            assert name in part, key
            part = part[name]


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parts(wheel: zipfile.ZipFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """Client, tool and reward, with verl's own BaseTool and ToolResponse under them, beside a server that serves."""
    for name in ("verl", "verl.tools", "verl.utils", "verl.utils.rollout_trace"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["verl.utils.rollout_trace"].rollout_trace_op = lambda function: function  # type: ignore[attr-defined]
    for name in ("schemas", "base_tool"):
        module = types.ModuleType(f"verl.tools.{name}")
        module.__package__ = "verl.tools"
        monkeypatch.setitem(sys.modules, f"verl.tools.{name}", module)
        exec(compile(wheel.read(f"verl/tools/{name}.py"), name, "exec"), module.__dict__)
    app = build_app(lambda: env.make("ga_grpo"), env.list_names(), preset="ga_grpo")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("OPHISCOPE_ENV_URL", f"http://127.0.0.1:{port}")
    names = ("ophiscope_client", "ophiscope_tool", "ophiscope_reward")
    yield tuple(_load(name) for name in names)
    server.should_exit = True
    thread.join(10)
    for name in names:
        sys.modules.pop(name, None)


def _row(seed: int) -> dict[str, Any]:
    return {"task": TASK, "seed": seed}


def test_tool_and_reward_play_an_episode(parts: tuple[Any, Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    _, tools, reward = parts
    schema = {"type": "function", "function": env.list_tools(TASK)[0]}
    from verl.tools.schemas import OpenAIFunctionToolSchema  # type: ignore[import-not-found]

    tool = tools.OphiscopeTool({}, OpenAIFunctionToolSchema.model_validate(schema))
    data = types.SimpleNamespace(extra_fields={}, tools_kwargs={"zoom_in": {"create_kwargs": _row(3)}})
    call = {"view": 1, "box": [100, 100, 600, 600]}
    response, worth, _ = asyncio.run(tool.execute("1", call, agent_data=data))
    other = env.make("ga_grpo")
    other.reset(TASK, 3)
    expected = other.step(
        '<tool_call>{"name": "zoom_in", "arguments": {"view": 1, "box": [100, 100, 600, 600]}}</tool_call>'
    )
    assert (worth, response.text) == (0.0, expected.messages[0].text)
    np.testing.assert_array_equal(np.asarray(response.image[0]), expected.messages[0].views[0].picture.pixels_H_W_3)
    answer = f"<answer>{build_draw()(TASK, 3).key.text} [E1]</answer>"
    said = f"<tool_call>...</tool_call>\nuser\n<tool_response>...</tool_response>\nassistant\n{answer}"
    told = asyncio.run(reward.compute_score("ophiscope", said, "", _row(3) | data.extra_fields))
    step = other.step(answer)
    assert told["score"] == pytest.approx(sum(step.reward.values()))
    assert told["looked"] == 1.0
    assert told["evidence"] == pytest.approx(step.evidence)
    # one that never called, and one that only chatters
    told = asyncio.run(reward.compute_score("ophiscope", "<answer>cannot tell</answer>", "", _row(3)))
    assert (told["looked"], told["evidence"]) == (0.0, 0.0)
    told = asyncio.run(reward.compute_score("ophiscope", "well", "", _row(3)))
    assert told["reward_accuracy"] == 0.0
    # a tool never raises
    data = types.SimpleNamespace(extra_fields={}, tools_kwargs={"zoom_in": {"create_kwargs": _row(-1)}})
    response, _, metrics = asyncio.run(tool.execute("1", call, agent_data=data))
    assert ("tool_failed" in response.text, metrics) == (True, {"failed": 1})


def test_nobody_there_is_an_error_and_no_reward(parts: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    client, _, reward = parts
    monkeypatch.setattr(client, "URL", "http://127.0.0.1:9")
    with pytest.raises(client.EnvFailed):
        asyncio.run(reward.compute_score("ophiscope", "<answer>yes</answer>", "", _row(3)))


def test_advantages_are_those_of_our_preset() -> None:
    source = (HERE / "ophiscope_trainer.py").read_text("utf-8")
    tree = ast.parse(source)
    kept = [node for node in tree.body if getattr(node, "name", "") == "compute_ga_advantages"]
    scope: dict[str, Any] = {"np": np, "Any": Any}
    exec("from ophiscope.train.advantages import dr_grpo, modulate_evidence", scope)
    exec(compile(ast.Module(kept, []), "trainer", "exec"), scope)
    rng = np.random.default_rng(4)
    preset = PRESETS["ga_grpo"]
    facts, rewards, evidence, groups, looked = [], [], [], [], []
    for group in range(6):
        own = []
        for _ in range(8):
            cited = None if group == 5 else float(rng.uniform()) * (rng.uniform() < 0.4)
            served = int(rng.uniform() < (0.1 if group < 3 else 0.7))
            one = EpisodeFacts(correct=bool(rng.uniform() < 0.5), served=served, calls=served, cited=cited)
            own.append(one)
            rewards.append(sum(preset.reward(one).values()))
            evidence.append(cited)
            groups.append(f"g{group}")
            looked.append(float(served > 0))
        facts.append(own)
    expected = np.concatenate([preset.score(own).advantages_G for own in facts])
    given = scope["compute_ga_advantages"](np.asarray(rewards), evidence, groups, np.asarray(looked))
    np.testing.assert_allclose(given, expected, atol=1e-12)


def test_rows_hold_the_pictures_and_no_truth() -> None:
    rows = pytest.importorskip("pyarrow") and _load("make_rows")
    environment = env.make()
    row = rows.build_row(environment, TASK, 3, "relative_1000")
    assert row["prompt"][1]["content"].count("<image>") == len(row["images"]) == 1
    assert row["reward_model"]["ground_truth"] == ""
    assert set(row["extra_info"]["tools_kwargs"]) == {tool["name"] for tool in env.list_tools(TASK)}
    assert set(row) == {"data_source", "prompt", "images", "reward_model", "extra_info"}
    assert set(row["extra_info"]) == {"index", "task", "seed", "need_tools_kwargs", "tools_kwargs"}
    tools = rows.build_tools(TASK)["tools"]
    assert {tool["class_name"] for tool in tools} == {"ophiscope_tool.OphiscopeTool"}
    sys.modules.pop("make_rows", None)
