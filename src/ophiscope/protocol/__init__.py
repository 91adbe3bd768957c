"""Messages to text and tokens, and back: one grammar, one coordinate table, one set of chat templates. Pure."""
