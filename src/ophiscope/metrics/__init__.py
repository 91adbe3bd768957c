"""Pure numbers: how well places agree, whether answers are right, of what use calls were, and how sure all that is."""
