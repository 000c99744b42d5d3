"""How the images of a training are cut into batches: one rule for every training loop."""

from __future__ import annotations


def batch_slices(images: int, batch: int) -> list[slice]:
    """Slices of the batches, in order; together they cover all images.

    The last batch takes what is left. A single image left over joins the batch before it, which
    BatchNorm needs: on maps of one pixel it has no spread to divide by. It stays alone where it has
    no batch to join: one image in all, or batches of one.

    Args:
        images: number of images.
        batch: number of images in a batch, at least 1.
    """
    starts = list(range(0, images, batch))
    if batch > 1 and len(starts) > 1 and images - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], images], strict=True)]
