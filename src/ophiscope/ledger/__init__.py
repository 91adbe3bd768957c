"""The append-only record of an episode: write it, read it, check it. The format is in ``docs/trace-format.md``."""
