"""How condensed images are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hmdc_ray.config.base import AUTO, Auto, NetworkSection, Section, require_unique
from hmdc_ray.config.condensation import Family


class StudentConfig(NetworkSection):
    """A network that an evaluation trains on the images."""

    learning_rate: float | None = Field(
        None, gt=0, le=100, description="Learning rate of this student, up to 100; null: the protocol's."
    )


class DistillationConfig(Section):
    """Knowledge distillation (KD) in an evaluation: a teacher trained on the same images guides the
    students."""

    teacher: StudentConfig = Field(
        StudentConfig(architecture="convnet"),
        strict=False,
        description="Network trained first, by the same recipe, and then fixed.",
    )
    alpha: float = Field(0.5, ge=0, le=1, description="Part of the distillation term, 0 to 1; the rest is cross-entropy.")
    temperatures: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = Field(
        (1.5,),
        min_length=1,
        strict=False,
        description="Softmax temperature tau, up to 1000; of several, the best on validation data is chosen for each student.",
    )


class EvaluationConfig(Section):
    """How the condensed images are judged at the end."""

    protocol: Literal["dc", "idc", "hmdc"] = Field(
        "dc",
        description="Training recipe of the students: dc (gradient matching's), idc (1000 epochs in batches of 64, with CutMix"
        " in place of cutout), or hmdc (2000 epochs in batches of 128, with both, at a constant learning rate).",
    )
    students: tuple[StudentConfig, ...] = Field(
        ({"architecture": "convnet"},),  # type: ignore[arg-type]
        strict=False,
        description="Architectures trained on the condensed images; include some that are not in the pool.",
    )
    seeds: int = Field(3, ge=1, le=1000, description="Networks trained per architecture, 1 to 1000.")
    epochs: int | None = Field(None, ge=1, description="Epochs E of the recipe, at least 1; null: the protocol's.")
    augmentation: bool | None = Field(
        None,
        description="Vary training images as the protocol does (dc: crop, scale, rotate, its form for MNIST, with 1000 epochs);"
        " null: the protocol's default, true for idc and hmdc, and for dc only where the statistics are MNIST's.",
    )
    families: tuple[Family, ...] | None = Field(
        None,
        strict=False,
        description="Augmentation families that idc and hmdc vary training images by, as in matching.families; null: those that"
        " the images were learned with, all where that is unknown.",
    )
    distillation: DistillationConfig | None = Field(
        None, strict=False, description="Knowledge distillation from a teacher; null: students learn from labels alone."
    )
    baselines: Literal["none", "random", "kmeans", "both"] = Field(
        "both", description="Real images of the same number to compare with: none, random, kmeans, or both."
    )
    count_fair: bool = Field(
        True,
        description="Baselines also with as many real images as training images are decoded from the condensed ones, where"
        " these are more than the stored ones.",
    )
    whole_data_epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs over the whole training split for the upper bound, and for the label-robust score; null: left out.",
    )
    whole_data: str | None = Field(
        None,
        min_length=1,
        description="Folder of 'hmdc pretrain', whose networks are the upper bound of the students of their names instead of"
        " students trained for whole_data_epochs; null: none.",
    )
    augmentation_robust: bool = Field(
        False, description="Train also with augmentation switched over, for the augmentation-robust score."
    )
    num_gpus: Annotated[float, Field(ge=0)] | Auto = Field(
        AUTO,
        description="GPUs of each student's training, may be a fraction; 0: CPU; auto: a part of one, so that as many trainings"
        " run at a time as its memory holds; CPU where the cluster has none.",
    )
    threads: Annotated[int, Field(ge=1, le=256)] | Auto = Field(
        AUTO,
        description="Torch threads of each student's training, 1 to 256; auto: one where there are as many trainings as cores,"
        " else the cores over the trainings.",
    )
    split: Literal["test", "validation"] = Field("test", description="Split that accuracy is measured on: test or validation.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> EvaluationConfig:
        require_unique(self.students)
        return self

    @model_validator(mode="after")
    def _augmentation_can_be_compared(self) -> EvaluationConfig:
        if self.augmentation_robust and self.baselines not in ("random", "both"):
            raise ValueError(
                f"augmentation_robust compares with random real images, but baselines is {self.baselines!r}: use random or both"
            )
        if self.augmentation_robust and self.distillation is not None:
            raise ValueError(
                "augmentation_robust is a score of students that learn from labels alone: set distillation to null"
            )
        return self
