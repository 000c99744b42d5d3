"""What is drawn for batches, on the CPU, and how it comes to the device: that of many batches in
one copy.

Shapes: B images of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmdc_ray.data.augment import Augmentation
from hmdc_ray.exchange.messages import Rows
from hmdc_ray.exchange.tensors import view
from hmdc_ray.system.transfer import to_device

NONE = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Draw:
    """A batch before its images are made.

    Attributes:
        rows: rows of the images, on the CPU.
        augmentation: how they are varied.
        rows_B: the rows, where the images are made.
        labels_B: labels of the images; empty for those of one class.
        decoded_B: positions of the decoded synthetic images that go with them; empty for all.
    """

    rows: Rows
    augmentation: Augmentation
    rows_B: Tensor
    labels_B: Tensor = NONE
    decoded_B: Tensor = NONE

    @property
    def values(self) -> tuple[Tensor, ...]:
        """All that the images are made from."""
        return self.rows_B, self.labels_B, self.decoded_B, *self.augmentation.values

    def with_copy(self, values: Sequence[Tensor]) -> Draw:
        """The same draw with a copy of its :attr:`values` on a device."""
        rows_B, labels_B, decoded_B, *varying = values
        augmentation = self.augmentation.with_copy(varying)
        return replace(self, augmentation=augmentation, rows_B=rows_B, labels_B=labels_B, decoded_B=decoded_B)


def drawn(rows: Rows, augmentation: Augmentation, *, labels: Rows | None = None, decoded: Rows | None = None) -> Draw:
    """A draw of these rows (B,), labels (B,) and positions of decoded images (B,), on the CPU."""
    others = (NONE if values is None else view(values) for values in (labels, decoded))
    return Draw(rows, augmentation, view(rows), *others)


def placed(draws: Sequence[Draw], device: torch.device, beside: Sequence[Tensor] = ()) -> tuple[list[Draw], list[Tensor]]:
    """Draws on a device, and other tensors that go there with them, all in one copy; see
    :func:`hmdc_ray.system.transfer.to_device`."""
    if device.type == "cpu":
        return list(draws), list(beside)
    moved = iter(to_device([*(value for draw in draws for value in draw.values), *beside], device))
    return [draw.with_copy([next(moved) for _ in draw.values]) for draw in draws], list(moved)
