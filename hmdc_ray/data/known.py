"""Known data sets, whose papers normalise by constants: those that data are recorded to be, and
those that they look like."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hmdc_ray.config.statistics import KNOWN, OWN, parse_statistics
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import InputError
from hmdc_ray.models.shape import ImageShape


@dataclass(frozen=True)
class _Look:
    """What a data set is recognised by: its title, number of classes, shape of an image, and number
    of training images."""

    title: str
    classes: int
    shape: ImageShape
    training_images: int


_LOOKS = {
    "cifar10": _Look("CIFAR-10", 10, ImageShape(3, 32, 32), 50_000),
    "cifar100": _Look("CIFAR-100", 100, ImageShape(3, 32, 32), 50_000),
    "mnist": _Look("MNIST", 10, ImageShape(1, 28, 28), 60_000),
    "fashionmnist": _Look("FashionMNIST", 10, ImageShape(1, 28, 28), 60_000),
    "svhn": _Look("SVHN", 10, ImageShape(3, 32, 32), 73_257),
}

_SAME_MEAN = 0.02  # by which the mean of a part of a data set may differ from that of the whole


def with_statistics(info: DatasetInfo, stated: str | None) -> DatasetInfo:
    """Facts about data with the statistics that a run normalises by: those stated, or else those of
    the recorded data set.

    Args:
        info: description of the data, with the statistics of the training split itself.
        stated: value of ``data.statistics``.

    Raises:
        InputError: the stated statistics have another number of channels.
    """
    if stated == OWN:
        return info
    name = stated or info.source_name
    if name is None:
        return replace(info, statistics_note=_advice(info))
    mean, std = parse_statistics(name)
    fits = len(mean) == info.shape.channels
    if stated and not fits:
        raise InputError(
            f"data.statistics is {stated!r}, for images of {len(mean)} channels, but those of"
            f" {info.source} have {info.shape.channels}; leave it out, or set data.channels: {len(mean)}"
        )
    if not fits:
        note = f"the source is {name}, but with other channels than its papers' constants: the data's own mean and std are used"
        return replace(info, statistics_note=note)
    note = (
        f"normalised by the papers' constants of {name}, which 'hmdc prepare' recorded as the source; "
        f"data.statistics={OWN} uses the data's own mean and std"
    )
    return replace(info, mean=mean, std=std, statistics=name, statistics_note=None if stated else note)


def _advice(info: DatasetInfo) -> str | None:
    """A line where classes, shape and number of images are those of a known data set; of several,
    their mean decides."""
    training = info.sizes["train"] + sum(info.sizes[split] for split in info.origin.cut)
    counts = {training, info.sizes["train"] + info.sizes["validation"]}  # for validation there may be a file of its own
    names = [
        name
        for name, look in _LOOKS.items()
        if (look.classes, look.shape) == (len(info.class_names), info.shape) and look.training_images in counts
    ]
    nearest = [name for name in names if _distance(name, info) < _SAME_MEAN]
    names = nearest if len(names) > 1 and nearest else names
    if not names:
        return None
    shape, images = info.shape, _LOOKS[names[0]].training_images
    return (
        f"the data look like {' or '.join(_LOOKS[name].title for name in names)} ({len(info.class_names)} classes, "
        f"{shape.height}x{shape.width}x{shape.channels}, {images:,} training images), but their own mean and std are used; "
        f"{' or '.join(f'data.statistics={name}' for name in names)} uses the papers' constants"
    )


def _distance(name: str, info: DatasetInfo) -> float:
    return max(abs(ours - theirs) for ours, theirs in zip(info.mean, KNOWN[name][0], strict=True))
