"""Many trainings, compared: runs, studies, and clusters that run them."""
