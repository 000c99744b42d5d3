"""What was noticed while images were read: what was left out and why, and what was assumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_NAMES = 1000
"""Most names of broken images that are kept; further ones are only counted."""


@dataclass
class Findings:
    """Counts by what they are about, as a person reads them. It grows while images are read.

    Attributes:
        taken: lines on how the source was read.
        left_out: files that were left out, by the reason: ``'.txt files'``, ``'links out of the folder'``.
        treated: images that were changed or read in part, by how: ``'16-bit images scaled to 8 bits'``.
        broken: names of images that could not be decoded and were skipped, each with the reason.
        broken_count: number of these, of which at most :data:`MOST_NAMES` are named.
    """

    taken: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    treated: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    broken_count: int = 0

    def skip(self, name: str, reason: str) -> None:
        """Note an image that cannot be decoded and is skipped."""
        self.broken_count += 1
        if len(self.broken) < MOST_NAMES:
            self.broken.append(f"{name}: {reason}")

    def lines(self) -> tuple[str, ...]:
        """One line for each finding, the most frequent first."""
        lines = [*self.taken]
        lines += [f"{reason}, left out: {count:,}" for reason, count in self.left_out.most_common()]
        lines += [f"{how}: {count:,}" for how, count in self.treated.most_common()]
        if self.broken_count:
            named = "; ".join(self.broken[:3]) + ("; .." if self.broken_count > 3 else "")
            lines.append(f"broken images, left out: {self.broken_count:,} ({named})")
        return tuple(lines)
