"""``python -m ophiscope`` is the command ``ophiscope``."""

from ophiscope.apps.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
