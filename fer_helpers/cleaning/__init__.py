"""Which faces are duplicates, blank or in conflict, and what stays in training."""
