"""The command ``ophiscope``, also as ``python -m ophiscope``.

It imports nothing itself, so that an impatient Ctrl-C during the imports of the command line is one line too.
"""

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit with its code."""
    try:
        from ophiscope.apps.cli import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.stderr.write("ophiscope: interrupted before there was anything to close\n")
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    main()
