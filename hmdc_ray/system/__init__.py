"""The operating system: files that survive a crash, memory, timing, signals. Nothing of the
field."""
