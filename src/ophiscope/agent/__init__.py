"""The episode: a loop without IO, the drivers that run it, and what reads a finished trace back into one."""
