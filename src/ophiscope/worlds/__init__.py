"""Phantoms: seeded pictures whose truth is known exactly, questions about them, and an oracle that answers by looking."""
