"""``ophiscope data``: build sets, and look at them."""

from pathlib import Path
from typing import Annotated

import typer

from ophiscope.apps.group import Group

__all__ = ["data_app"]

data_app = typer.Typer(cls=Group, help="Sets of questions and trajectories from annotated data.", no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
_Set = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that data build wrote.")]


@data_app.command("build")
def build(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="None lists them.")] = None,
    source: Annotated[str, typer.Option(metavar="PATH", help="Annotated pictures or videos.")] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder; the same command goes on there.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="So many items of the source, after the seeded shuffle.")
    ] = None,
    teacher: Annotated[str, typer.Option(metavar="MODEL", help="As ask --model; without one no model is asked.")] = "",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of shuffle, wordings and draws.")] = 0,
    license_: Annotated[
        str, typer.Option("--license", metavar="TEXT", help="Of a source that does not say.")
    ] = "unknown",
    card: Annotated[
        str, typer.Option(metavar="NAME", help="Who will learn: nano, nano-video, qwen3_vl or qwen2_5_vl.")
    ] = "nano",
    segmenter: Annotated[str, typer.Option(metavar="NAME", help="As for ask; of recipes that use tools.")] = "nano-seg",
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Processes.")] = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster (local starts one here) in their place.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Pictures of a benchmark: what looks like one is not learned; repeatable."),
    ] = None,
    encode: Annotated[bool, typer.Option("--encode", help="Write drawn pictures and recordings as files.")] = False,
    budget_calls: Annotated[int | None, typer.Option(metavar="N", min=0, help="Of the teacher.")] = None,
    budget_tokens: Annotated[int | None, typer.Option(metavar="N", min=0, help="Of the teacher, about.")] = None,
    allow_noncommercial: Annotated[
        bool, typer.Option("--allow-noncommercial", help="Mix sources that forbid commercial use with others.")
    ] = False,
    allow_egress: Annotated[
        bool, typer.Option("--allow-egress", help="Allow pictures made from DICOM to be sent to another machine.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and asked.")] = False,
    json_: _Json = False,
) -> None:
    """Build a set; what was begun goes on."""
    from ophiscope.apps.data_command import BuildArguments, run_build

    asked = {
        "source": source, "limit": limit, "teacher": teacher, "seed": seed, "license": license_, "card": card,
        "segmenter": segmenter, "encode": encode, "against": tuple(against or ()),
        "budget_calls": budget_calls, "budget_tokens": budget_tokens,
        "allow_noncommercial": allow_noncommercial, "allow_egress": allow_egress,
    }  # fmt: skip
    raise typer.Exit(run_build(BuildArguments(recipe, asked, out, workers, ray, dry_run, json_)))


@data_app.command("stats")
def stats(folder: _Set, json_: _Json = False) -> None:
    """What a set holds, and what became of the rest."""
    from ophiscope.apps.data_command import run_stats

    raise typer.Exit(run_stats(folder, as_json=json_))


@data_app.command("card")
def card(
    folder: _Set,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="Default: card.html in the folder.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Write one self-contained HTML page about a set."""
    from ophiscope.apps.data_command import run_card

    raise typer.Exit(run_card(folder, out, as_json=json_))


@data_app.command("validate")
def validate(folder: _Set, json_: _Json = False) -> None:
    """Check a set: 0 sound, 1 not (says what), 2 no set."""
    from ophiscope.apps.data_command import run_validate

    raise typer.Exit(run_validate(folder, as_json=json_))


@data_app.command("sample")
def sample(
    folder: _Set,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, max=1000, help="How many records.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Which.")] = 0,
    json_: _Json = False,
) -> None:
    """Show some records, with their turns."""
    from ophiscope.apps.data_command import run_sample

    raise typer.Exit(run_sample(folder, n, seed, as_json=json_))


@data_app.command("export")
def export(
    folder: _Set,
    form: Annotated[str, typer.Argument(metavar="FORM", help="sharegpt, openai or parquet.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    json_: _Json = False,
) -> None:
    """Write a set in a form of others."""
    from ophiscope.apps.data_command import run_export

    raise typer.Exit(run_export(folder, form, out, as_json=json_))
