"""A pool of many members on one machine: the real server and the real exchange, with members that
only wait."""
