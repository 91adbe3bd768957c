"""Qwen-VL checkpoints and ``nano`` run in this process: torch lives here, and nowhere above."""
