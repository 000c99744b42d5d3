"""The program ``hmdc``: a module per command, and what the terminal shows."""
