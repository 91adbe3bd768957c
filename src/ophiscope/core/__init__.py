"""Values without IO: where a picture comes from, what was found in it, what was said about it."""
