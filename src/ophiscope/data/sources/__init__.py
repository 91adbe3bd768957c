"""Annotated pictures and videos of others, whatever they are written in."""
