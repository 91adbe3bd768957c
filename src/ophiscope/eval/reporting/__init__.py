"""From results to tables: one file for each question that is asked of them."""
