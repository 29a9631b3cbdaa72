"""The command line: environments, the row of notebooks, what must run again."""
