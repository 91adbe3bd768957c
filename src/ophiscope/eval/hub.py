"""Fetches the files of a benchmark from the hub, only when that is asked for."""

from pathlib import Path

from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark

__all__ = ["fetch"]


def fetch(benchmark: Benchmark) -> Path:
    """The files of a data set at the hub, in its cache on this machine.

    Raises:
        WrongInput: If ``huggingface_hub`` is not installed, or the files cannot be had.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise WrongInput("--data hub needs huggingface_hub; install ophiscope[local], or give --data PATH.") from error
    try:
        return Path(snapshot_download(str(benchmark.hub), repo_type="dataset"))
    except Exception as error:
        raise WrongInput(
            f"{benchmark.hub} cannot be fetched from the hub ({type(error).__name__}); give --data PATH."
        ) from error
