"""``ophiscope eval``: run benchmarks, and see what came out."""

from pathlib import Path
from typing import Annotated

import typer

from ophiscope.apps.group import Group

__all__ = ["eval_app"]

eval_app = typer.Typer(cls=Group, help="Benchmarks, with evidence and counterfactuals.", no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
_Dir = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that eval run wrote.")]


@eval_app.command("run")
def run(
    bench: Annotated[
        str, typer.Argument(metavar="BENCH", help="A name of eval list, or a .jsonl or .csv of your own questions.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder; the same command goes on there.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="As ask --model.")] = "nano",
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="The benchmark's files; hub fetches them.")] = None,
    tools: Annotated[str, typer.Option(metavar="NAMES", help="all (that fit), none, or names with commas.")] = "all",
    intervene: Annotated[
        str, typer.Option(metavar="NAMES", help="Also run with changed evidence or none; names with commas, or all.")
    ] = "",
    baselines: Annotated[
        str, typer.Option(metavar="NAMES", help="Also run baselines over the same questions; names with commas.")
    ] = "",
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="So many questions, chosen at random.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many a drawn benchmark draws.")] = None,
    seeds: Annotated[int, typer.Option(metavar="K", min=1, max=100, help="Runs of each question.")] = 1,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="Of sampling; 0 is greedy.")] = 0.0,
    benchmark_seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of what is drawn.")] = 0,
    segmenter: Annotated[str, typer.Option(metavar="NAME", help="As for ask.")] = "nano-seg",
    coords: Annotated[str | None, typer.Option(metavar="PROFILE", help="As for ask.")] = None,
    max_turns: Annotated[int, typer.Option(metavar="N", min=1, help="Replies of the model at most.")] = 8,
    max_reply_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Tokens of one reply at most.")] = 512,
    width: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Episodes at once.")] = 16,
    traces: Annotated[
        int, typer.Option(metavar="N", min=0, help="Keep the traces of the N worst and N best answers.")
    ] = 12,
    retry: Annotated[bool, typer.Option("--retry", help="Run again what failed.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make any network connection an error.")] = False,
    allow_egress: Annotated[
        bool, typer.Option("--allow-egress", help="Allow pictures made from DICOM to be sent to another machine.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Run a benchmark; what was begun goes on."""
    from ophiscope.apps.eval_command import RunArguments, run_evaluation

    asked = {
        "benchmark": bench, "data": data, "model": model, "coords": coords, "segmenter": segmenter, "tools": tools,
        "max_turns": max_turns, "max_reply_tokens": max_reply_tokens, "temperature": temperature, "seeds": seeds,
        "benchmark_seed": benchmark_seed, "count": count, "limit": limit, "offline": offline,
        "allow_egress": allow_egress,
    }  # fmt: skip
    arguments = RunArguments(asked, out, intervene, baselines, width, traces, retry, json_)
    raise typer.Exit(run_evaluation(arguments))


@eval_app.command("report")
def report(folder: _Dir, json_: _Json = False) -> None:
    """Work out all tables: report.md, report.json and report.html in the folder."""
    from ophiscope.apps.eval_command import run_report

    raise typer.Exit(run_report(folder, as_json=json_))


@eval_app.command("compare")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder that eval run wrote, or one in its arms.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same questions.")],
    json_: _Json = False,
) -> None:
    """How much better is A than B, and could that be chance?"""
    from ophiscope.apps.eval_command import run_comparison

    raise typer.Exit(run_comparison(a, b, as_json=json_))


@eval_app.command("list")
def list_(json_: _Json = False) -> None:
    """Benchmarks, interventions and baselines."""
    from ophiscope.apps.eval_command import run_list

    raise typer.Exit(run_list(as_json=json_))
