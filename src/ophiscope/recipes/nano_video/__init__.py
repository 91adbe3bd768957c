"""nano on video: a second small checkpoint that finds seconds in an hour."""
