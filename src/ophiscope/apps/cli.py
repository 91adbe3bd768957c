"""The command line. Commands live in files of their own, loaded when they run, so that ``--help`` costs little."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ophiscope import __version__
from ophiscope.apps.data_cli import data_app
from ophiscope.apps.eval_cli import eval_app
from ophiscope.apps.group import Group
from ophiscope.apps.terminal import print_error, print_json
from ophiscope.errors import DiskFailed, MediaRejected, OphiscopeError

__all__ = ["app", "main", "run"]

_INTERRUPTED = 130
_USAGE = 2
_DEFECT = 1


app = typer.Typer(
    cls=Group,
    name="ophiscope",
    help="Look, find, cite: medical vision-language models with evidence. Research use only; not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
_Frame = Annotated[int | None, typer.Option(metavar="K", help="Which picture of a file that holds several, from 0.")]
_Slice = Annotated[
    str | None, typer.Option("--slice", metavar="AXIS:K", help="Slice of a volume, for example axial:40.")
]
_Series = Annotated[int | None, typer.Option(metavar="N", help="Which series of a folder that holds several, from 0.")]
_Fps = Annotated[
    float | None, typer.Option("--fps", metavar="RATE", help="Frames a second of a folder of frames without times.")
]
_Trace = Annotated[Path, typer.Argument(metavar="TRACE", help="The folder that ask --out wrote.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ophiscope {__version__}")
        raise typer.Exit(0)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def ask(
    media: Annotated[
        str, typer.Argument(metavar="MEDIA", help="An image, DICOM file, slide, video or volume, or a folder.")
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help='For example "Is there a polyp?"')],
    more: Annotated[
        list[str] | None, typer.Option("--media", metavar="MORE", help="Another file of the same case; repeatable.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="TEXT", help="A choice; repeat for each, two or more.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="nano, hf:ID_OR_DIR, openai:BASE_URL#NAME or replay:TRACE.")
    ] = "nano",
    coords: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="Coordinate profile instead of the model family's own.")
    ] = None,
    segmenter: Annotated[
        str, typer.Option(metavar="NAME", help="nano-seg, classical, sam2:DIR_OR_HUB_ID or remote:URL.")
    ] = "nano-seg",
    tools: Annotated[str, typer.Option(metavar="NAMES", help="all (that fit), none, or names with commas.")] = "all",
    max_turns: Annotated[int, typer.Option(metavar="N", help="Replies of the model at most.")] = 8,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of sampling.")] = 0,
    frame: _Frame = None,
    slice_: _Slice = None,
    series: _Series = None,
    fps: _Fps = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make any network connection an error.")] = False,
    allow_egress: Annotated[
        bool, typer.Option("--allow-egress", help="Allow pictures made from DICOM to be sent to another machine.")
    ] = False,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the answer's mask as a PNG of the image's size.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="A new or empty folder for the trace.")] = None,
    json_: _Json = False,
) -> None:
    """Ask a question about an image, a video or a volume; the answer cites the evidence that was looked at."""
    from ophiscope.apps.ask_command import AskArguments, run_ask

    arguments = AskArguments(
        media=(media, *(more or ())),
        question=question,
        options=tuple(option or ()),
        model=model,
        coords=coords,
        segmenter=segmenter,
        tools=tools,
        max_turns=max_turns,
        seed=seed,
        frame=frame,
        slice_at=slice_,
        series=series,
        fps=fps,
        offline=offline,
        allow_egress=allow_egress,
        mask=mask,
        out=out,
        json=json_,
    )
    raise typer.Exit(run_ask(arguments))


@app.command("compare-segmenters")
def compare_segmenters(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="Rows of image, box_xyxy or target, mask (.jsonl); or one image.")
    ],
    segmenter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="As for ask; repeat, two or more."),
    ] = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Of one image: where, in its pixels.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Of one image: what; of rows: only these targets.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(metavar="MASK.png", help="Of one image: its true mask.")] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only rows of this split.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="The first N rows.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep a record of each row there; the same command goes on.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make any network connection an error.")] = False,
    allow_egress: Annotated[
        bool, typer.Option("--allow-egress", help="Allow pictures made from DICOM to be sent to another machine.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Run several segmenters on the same prompts: Dice, time and disagreement."""
    from ophiscope.apps.compare_command import CompareArguments, run_compare

    arguments = CompareArguments(
        prompts=prompts,
        segmenters=tuple(segmenter or ()),
        box=box,
        targets=tuple(target or ()),
        truth=truth,
        split=split,
        limit=limit,
        out=out,
        offline=offline,
        allow_egress=allow_egress,
        json=json_,
    )
    raise typer.Exit(run_compare(arguments))


@app.command()
def inspect(
    media: Annotated[
        str, typer.Argument(metavar="MEDIA", help="A file, or a folder of DICOM files, videos or frames.")
    ],
    frame: _Frame = None,
    slice_: _Slice = None,
    series: _Series = None,
    fps: _Fps = None,
    json_: _Json = False,
) -> None:
    """Say what a file is, what it holds and what would be shown of it."""
    from ophiscope.apps.inspect_command import InspectArguments, run_inspect

    raise typer.Exit(run_inspect(InspectArguments(media, frame, slice_, series, fps, json_)))


@app.command()
def verify(
    trace: _Trace,
    replay: Annotated[bool, typer.Option("--replay", help="Also run the recorded calls again and compare.")] = False,
    study: Annotated[
        list[Path] | None, typer.Option("--study", metavar="PATH", help="A study's file, where it is not in the trace.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Check a trace: 0 intact, 1 not intact (says what and why), 2 not a trace."""
    from ophiscope.apps.verify_command import run_verify

    raise typer.Exit(run_verify(trace, replay=replay, studies=tuple(study or ()), as_json=json_))


@app.command()
def report(
    trace: _Trace,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="Default: TRACE.html beside the folder.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Write one self-contained HTML page about a trace."""
    from ophiscope.apps.report_command import run_report

    raise typer.Exit(run_report(trace, out, as_json=json_))


@app.command()
def audit(
    trace: _Trace,
    evidence: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Take this away, for example E1; default: what is cited.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The recorded model, where it is not an embedded one.")
    ] = None,
    study: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="A study's file, where it is not in the trace.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.json", help="Default: TRACE.audit.json beside it."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of places, noise and sampling.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Check a record against its trace.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make any network connection an error.")] = False,
    allow_egress: Annotated[
        bool, typer.Option("--allow-egress", help="Allow pictures made from DICOM to be sent to another machine.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Would the answer have been the same without its evidence? Asks the recorded model again and again."""
    from ophiscope.apps.audit_command import AuditArguments, run_audit

    chosen, studies = tuple(evidence or ()), tuple(study or ())
    arguments = AuditArguments(trace, chosen, model, studies, out, seed, check, offline, allow_egress, json_)
    raise typer.Exit(run_audit(arguments))


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Also show this model eight marked pictures.")
    ] = None,
    coords: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="The profile to judge, instead of the model family's own.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Say what works here, and how to fix what does not."""
    from ophiscope.apps.doctor_command import run_doctor

    raise typer.Exit(run_doctor(model, coords=coords, as_json=json_))


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new or empty folder; default ./demo, or the next free number.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model to ask.")] = "nano",
    segmenter: Annotated[
        str, typer.Option(metavar="NAME", help="nano-seg, classical, sam2:DIR_OR_HUB_ID or remote:URL.")
    ] = "nano-seg",
    json_: _Json = False,
) -> None:
    """Ask about a real image, write the report, and verify the trace."""
    from ophiscope.apps.demo_command import run_demo

    raise typer.Exit(run_demo(out, model=model, segmenter=segmenter, as_json=json_))


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="nano_image or nano_video; none lists them.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="As in steps=20 rl.advantage=ga_grpo.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default runs/RECIPE; the same command goes on there.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build everything and take two small steps; keep nothing.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Train a model by reinforcement, from a recipe."""
    from ophiscope.apps.train_command import run_train

    raise typer.Exit(run_train(recipe, tuple(changes or ()), out, dry_run=dry_run, as_json=json_))


_env = typer.Typer(cls=Group, help="Episodes as an environment for a trainer elsewhere.", no_args_is_help=True)
app.add_typer(_env, name="env")


@_env.command("serve")
def env_serve(
    host: Annotated[
        str, typer.Option(help="Beyond this machine only with a token in OPHISCOPE_ENV_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8890,
    preset: Annotated[str, typer.Option(help="Whose reward (docs/rewards.md).")] = "ga_grpo",
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who will answer, as in qwen3-vl: chooses views and coordinates.")
    ] = None,
    episodes: Annotated[int, typer.Option(metavar="N", help="Most that are open at a time.")] = 256,
) -> None:
    """Serve episodes over HTTP: text in, text and pictures out, reward at the end."""
    from ophiscope.apps.env_command import serve_env

    serve_env(host, port, preset=preset, model=model, episodes=episodes)


app.add_typer(data_app, name="data")
app.add_typer(eval_app, name="eval")


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 a check failed (or a defect of ours, said as such), 2 wrong input or usage, 3 the model
        or a tool server failed, 74 the disk failed, 75 the folder is in use, 130 interrupted.
    """
    try:
        # without a command the help is what is wanted, but nothing was done
        asked = list(arguments) or ["--help"]
        returned: Any = app(args=asked, prog_name="ophiscope", standalone_mode=False)
    except KeyboardInterrupt:
        return _fail(arguments, "Interrupted", "interrupted", _INTERRUPTED)
    except MediaRejected as error:
        return _fail(arguments, type(error).__name__, str(error), error.exit_code, kept=error.nameless)
    except OphiscopeError as error:
        return _fail(arguments, type(error).__name__, str(error), error.exit_code)
    except typer.Abort:
        return _fail(arguments, "Interrupted", "interrupted", _INTERRUPTED)
    except Exception as error:
        if hasattr(error, "format_message"):
            return _fail(arguments, "Usage", f"{error.format_message()} Try 'ophiscope --help'.", _USAGE)
        if os.environ.get("OPHISCOPE_DEBUG"):
            raise
        message = f"a defect of ophiscope: {type(error).__name__}: {error} (OPHISCOPE_DEBUG=1 shows where)"
        return _fail(arguments, "Defect", message, _DEFECT)
    if not arguments:
        return _USAGE
    return returned if isinstance(returned, int) else 0


def _fail(arguments: Sequence[str], kind: str, message: str, exit_code: int, *, kept: str | None = None) -> int:
    """One line on stderr; with ``--json`` also the one object on stdout, which may be kept and so names no file."""
    # where not even this can be written, the exit code still tells
    with suppress(DiskFailed):
        print_error(message)
    if "--json" in arguments:
        with suppress(DiskFailed):
            print_json({"error": kind, "message": kept or message, "exit_code": exit_code})
    return exit_code


def main() -> None:
    """Entry point of the ``ophiscope`` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
