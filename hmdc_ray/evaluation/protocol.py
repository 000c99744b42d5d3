"""Training recipes of the students, as data."""

from __future__ import annotations

from dataclasses import dataclass

from hmdc_ray.config import EvaluationConfig

DC_EPOCHS = 300
DC_EPOCHS_AUGMENTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one student is trained: SGD, the learning rate lowered once, the last epoch counts.

    Attributes:
        epochs: E, at least 1; as in DC's code, E + 1 epochs are trained.
        learning_rate: of the first part.
        decay: factor on the learning rate for the second part, which starts with a new optimiser (momentum forgotten).
        momentum: of SGD.
        weight_decay: of SGD, on every parameter.
        batch: images in a batch; a smaller set is one batch.
        augmentation: vary every image of a batch, see :func:`hmdc_ray.evaluation.augmentation.augment`.
    """

    epochs: int
    learning_rate: float = 0.01
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augmentation: bool = False

    @property
    def decay_epoch(self) -> int:
        """The epoch, from 0, after which the learning rate falls: E / 2 + 1."""
        return self.epochs // 2 + 1


def recipe(config: EvaluationConfig) -> Recipe:
    """The recipe ``dc``, of DC's released code (Zhao et al., arXiv 2006.05929): 300 epochs, 1000 with augmentation."""
    default = DC_EPOCHS_AUGMENTED if config.augmentation else DC_EPOCHS
    return Recipe(epochs=config.epochs or default, augmentation=bool(config.augmentation))
