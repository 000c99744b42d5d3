"""Entry points: the command line, and one module per job for ``ray job submit``."""
