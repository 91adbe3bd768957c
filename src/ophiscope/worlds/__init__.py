"""Phantoms: seeded pictures of exactly known truth, questions about them, and an oracle that answers by looking."""
