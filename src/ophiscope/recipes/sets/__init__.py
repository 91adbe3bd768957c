"""Recipes of sets: what ``ophiscope data build`` knows."""
