"""Self-contained pages: no script, nothing loaded, everything escaped, one look for all of them."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

from ophiscope.apps.terminal import DISCLAIMER, replace_unsafe
from ophiscope.errors import DiskFailed

__all__ = ["render_page", "write_page"]

_FOLDER = files("ophiscope.apps")


def render_page(template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        template: A file of this package.
        **values: What the template names; ``disclaimer`` and ``style`` are given.
    """
    environment = Environment(
        autoescape=select_autoescape(default=True), undefined=StrictUndefined, finalize=_replace_controls
    )
    style = Markup((_FOLDER / "page.css").read_text("utf-8"))
    page = environment.from_string((_FOLDER / template).read_text("utf-8"))
    return page.render(disclaimer=DISCLAIMER, style=style, **values)


def write_page(content: str, page: Path, what: str) -> None:
    """Write a page; it appears whole or not at all.

    Args:
        content: HTML.
        page: Where to.
        what: What it is, as a message calls it: ``report``.

    Raises:
        DiskFailed: If it cannot be written.
    """
    partial = page.with_name(f".{page.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode("utf-8", "replace"))
        os.replace(partial, page)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DiskFailed(f"The {what} could not be written to {page}: {error.strerror}.") from error


def _replace_controls(value: Any) -> Any:
    """What the template puts in, before it is escaped: text keeps its lines and tabs and no other control."""
    if not isinstance(value, str):
        return value
    plain = replace_unsafe(value, keep="\n\t")
    return Markup(plain) if isinstance(value, Markup) else plain
