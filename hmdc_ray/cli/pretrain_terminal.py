"""The progress of a pre-training on a terminal."""

from __future__ import annotations

from hmdc_ray.cli.terminal import TerminalProgress


class EpochProgress(TerminalProgress):
    """Shows the epochs of one network after the other."""

    def epoch(self, name: str, done: int, total: int) -> None:
        """Advance by an epoch."""
        self._advance(f"training {name}, epoch", done, total)
