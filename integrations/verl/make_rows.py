"""Writes what verl reads, in the environment of ophiscope: rows (parquet) and the tools (YAML).

``python make_rows.py --task phantom-video/when --count 4096 --model qwen3-vl --out data``
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ophiscope import env
from ophiscope.adapters.trl import list_rows
from ophiscope.core.message import ImagePart, Message
from ophiscope.models.address import ServerAddress, build_server_card

__all__ = ["build_row", "build_tools", "main"]


def build_row(environment: env.Environment, task: str, seed: int, coords: str) -> dict[str, Any]:
    """One row: the conversation with its pictures, and whose episode it is; no truth."""
    shown = environment.reset(task, seed)[-1]
    system, user = list_rows(task, 1, coords=coords)[0]["prompt"]
    create = {"create_kwargs": {"task": task, "seed": seed}}
    tools = {tool["name"]: create for tool in environment.tools}
    return {
        "data_source": "ophiscope",
        "prompt": [system, {**user, "content": _place(shown)}],
        "images": [{"bytes": _encode(part)} for part in shown.parts if isinstance(part, ImagePart)],
        "reward_model": {"style": "rule", "ground_truth": ""},
        "extra_info": {"index": seed, "task": task, "seed": seed, "need_tools_kwargs": True, "tools_kwargs": tools},
    }


def build_tools(task: str) -> dict[str, Any]:
    """What ``multi_turn.tool_config_path`` names; JSON is YAML."""
    return {
        "tools": [
            {
                "class_name": "ophiscope_tool.OphiscopeTool",
                "config": {"type": "native"},
                "tool_schema": {"type": "function", "function": schema},
            }
            for schema in env.list_tools(task)
        ]
    }


def _place(message: Message) -> str:
    return "".join("<image>" if isinstance(part, ImagePart) else part.text for part in message.parts)


def _encode(part: ImagePart) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(part.view.picture.pixels_H_W_3).save(kept, "png")
    return kept.getvalue()


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--model", default="qwen3-vl", help="chooses views and coordinates, as in env serve")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    card = build_server_card(ServerAddress("http://127.0.0.1", args.model))
    environment = env.make(card=card)
    seeds = range(args.first_seed, args.first_seed + args.count)
    rows = [build_row(environment, args.task, seed, card.coords) for seed in seeds]
    environment.close()
    args.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), args.out / "rows.parquet")
    (args.out / "tools.yaml").write_text(json.dumps(build_tools(args.task), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
