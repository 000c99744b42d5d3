"""Training recipes of the students, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Literal, get_args

from hmdc_ray.config import EvaluationConfig, Family, StudentConfig
from hmdc_ray.models.network import Network

Variation = Literal["none", "crop_scale_rotate", "idc"]

PRETRAINED_RATES: tuple[tuple[str, float], ...] = (("*resnet101*", 1e-4), ("*vit_base*", 1e-4), ("*", 1e-3))
"""Learning rates of networks that do not start from scratch, by the first file-name pattern that
the architecture matches. HMDC's (arXiv 2409.14538): 1e-3 for ResNet18, ResNet50, ViT tiny and
small, 1e-4 for ResNet101 and ViT base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The training of one student by SGD: the learning rate falls at milestones, the weights after
    the last epoch count.

    Attributes:
        epochs: number of epochs E, at least 1.
        extra_epoch: whether one epoch more is trained, as in DC's code.
        batch: images in a batch; a smaller set is one batch. See
            :func:`hmdc_ray.data.cutting.batch_slices`.
        milestones: parts of E, as (numerator, denominator), after which the learning rate falls.
        milestone_delay: epochs between each part of E and the fall.
        decay: factor on the learning rate at each milestone.
        fresh_optimiser: whether a milestone starts a new optimiser, which discards the momentum.
        learning_rate: initial learning rate of a network from scratch.
        pretrained_rates: initial learning rates of other networks, see :data:`PRETRAINED_RATES`.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD, on every parameter.
        variation: augmentation of each image in a batch: ``none``, DC's ``crop_scale_rotate``
            (:func:`hmdc_ray.evaluation.augmentation.crop_scale_rotate`), or ``idc``
            (:mod:`hmdc_ray.data.augment`).
        families: families of augmentation that ``idc`` uses.
        one_warp: whether ``idc`` draws crop, scale or rotation once for a batch instead of for each
            image.
        cutmix: whether images and labels of every second batch are mixed
            (:mod:`hmdc_ray.data.cutmix`).
        cutmix_tokens: whether CutMix is used for networks that work on tokens (ViTs) too.
        cutout_beside_cutmix: whether ``cutout`` is used where CutMix is on; else it is left out of
            the families there.
    """

    epochs: int
    extra_epoch: bool
    batch: int
    milestones: tuple[tuple[int, int], ...]
    milestone_delay: int = 0
    decay: float
    fresh_optimiser: bool
    learning_rate: float = 0.01
    pretrained_rates: tuple[tuple[str, float], ...] = PRETRAINED_RATES
    momentum: float = 0.9
    weight_decay: float = 5e-4
    variation: Variation
    families: tuple[Family, ...] = get_args(Family)
    one_warp: bool = False
    cutmix: bool
    cutmix_tokens: bool = False
    cutout_beside_cutmix: bool = True

    @property
    def trained_epochs(self) -> int:
        """Epochs in all."""
        return self.epochs + self.extra_epoch

    @property
    def falls(self) -> tuple[int, ...]:
        """The epochs, from 0, before which the learning rate falls."""
        return tuple(self.epochs * part // whole + self.milestone_delay for part, whole in self.milestones)

    def for_student(self, student: StudentConfig) -> Recipe:
        """The recipe with the learning rate of this student: its own, or that of its origin and
        family."""
        rate = self.learning_rate
        if student.learning_rate is not None:
            rate = student.learning_rate
        elif student.weights != "scratch":
            rate = next(rate for pattern, rate in self.pretrained_rates if fnmatch(student.architecture, pattern))
        return replace(self, learning_rate=rate)

    def for_network(self, network: Network) -> Recipe:
        """The recipe, without CutMix where the network works on tokens and the recipe mixes no
        images for those."""
        mixes = self.cutmix_tokens or all(tap.kind != "tokens" for tap in network.taps)
        return replace(self, cutmix=self.cutmix and mixes)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The two recipes of a protocol.

    Attributes:
        plain: recipe without augmentation of the training images.
        varied: recipe with it.
        varied_by_default: whether ``varied`` is used when the configuration leaves augmentation
            open.
    """

    plain: Recipe
    varied: Recipe
    varied_by_default: bool


_DC = Recipe(
    epochs=300,
    extra_epoch=True,
    batch=256,
    milestones=((1, 2),),
    milestone_delay=2,  # DC's code lowers the rate after epoch E / 2 + 1
    decay=0.1,
    fresh_optimiser=True,
    variation="none",
    cutmix=False,
)
_IDC = Recipe(
    epochs=1000,
    extra_epoch=False,
    batch=64,
    milestones=((2, 3), (5, 6)),
    decay=0.2,
    fresh_optimiser=False,
    variation="idc",
    one_warp=True,
    cutmix=True,
    cutmix_tokens=True,
    cutout_beside_cutmix=False,
)
_HMDC = Recipe(
    epochs=2000,
    extra_epoch=False,
    batch=128,
    milestones=(),
    decay=1.0,
    fresh_optimiser=False,
    variation="idc",
    cutmix=True,
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "dc": Protocol(_DC, replace(_DC, epochs=1000, variation="crop_scale_rotate"), varied_by_default=False),
        "idc": Protocol(replace(_IDC, variation="none", cutmix=False), _IDC, varied_by_default=True),
        "hmdc": Protocol(replace(_HMDC, variation="none", cutmix=False), _HMDC, varied_by_default=True),
    }
)
"""Protocols by name: DC's (Zhao et al., arXiv 2006.05929; varied as it is for MNIST), IDC's (Kim et
al., ICML 2022), and HMDC's (Moon et al., arXiv 2409.14538), which has IDC's augmentation, but all
of it drawn for each image, and no CutMix for ViTs."""


def recipe(config: EvaluationConfig, *, switched: bool = False) -> Recipe:
    """The recipe that a configuration asks for, for networks from scratch.

    Args:
        config: configuration with protocol, augmentation, epochs and families.
        switched: whether augmentation is switched: on where the configuration has none, off where
            it has.
    """
    protocol = PROTOCOLS[config.protocol]
    varied = protocol.varied_by_default if config.augmentation is None else config.augmentation
    chosen = protocol.varied if varied != switched else protocol.plain
    return replace(chosen, epochs=config.epochs or chosen.epochs, families=config.families or chosen.families)
