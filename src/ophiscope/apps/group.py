"""Commands whose Ctrl-C is told in one line."""

from typing import Any

import typer

from ophiscope.errors import Interrupted

__all__ = ["Group"]


class Group(typer.core.TyperGroup):
    """Commands whose Ctrl-C reaches :func:`~ophiscope.apps.cli.run`; typer would end without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted before there was anything to close") from None
