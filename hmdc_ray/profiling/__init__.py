"""Measurements of a run's steps, for ``hmdc plan`` and the benchmarks: seconds by phase, bytes,
memory, arithmetic."""
