"""How the synthetic images are learned: matching, balance, images, schedule."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from hmdc_ray.config.base import Section
from hmdc_ray.errors import closest

Family = Literal["flip", "brightness", "saturation", "contrast", "crop", "scale", "rotate", "cutout"]
INITIALISE = ("noise", "real", "kmeans")
"""What images may start from without a file."""
Precision = Literal["float32", "float64", "bfloat16", "tf32"]


class MatchingConfig(Section):
    """What is matched between real and synthetic images, and on which batches."""

    metric: Literal["mse", "cosine", "l1"] = Field(
        "mse", description="Distance between gradients: mse (HMDC), cosine (DC), l1 (IDC)."
    )
    mutual_distillation: bool = Field(False, description="Match the gradients of the members' feature agreement too (MD).")
    peer_gradient: Literal["exact", "detached"] = Field(
        "exact", description="Gradient of MD through the other members: exact (three exchanges) or detached (two, approximate)."
    )
    agreement: Literal["mse", "standardised"] = Field(
        "mse",
        description="How members' features are compared: mse (HMDC), or standardised (each less its mean over images, and each"
        " layer's divided by their deviation, so that aligners cannot agree by shrinking them).",
    )
    aligner_images: int = Field(
        2000,
        description="Real images on which aligners are trained before an iteration's first step and after each one, at least 2;"
        " all where there are fewer.",
    )
    probe_every: int = Field(
        50,
        ge=1,
        description="Steps between two probes of MD's consensus, at least 1: how many validation images a linear classifier"
        " of it gets right.",
    )
    resize: Literal["adaptive", "bilinear"] = Field(
        "adaptive", description="How feature maps reach the common size: adaptive (shrink by averaging) or bilinear (HMDC)."
    )
    sampler: Literal["random", "kmeans"] = Field(
        "random", description="How real images are chosen: random, or kmeans (nearest to k-means centroids)."
    )
    sampler_period: int = Field(10, ge=1, description="Steps between two k-means selections, at least 1.")
    kmeans_iterations: int = Field(20, ge=1, le=1000, description="Most Lloyd iterations of one k-means, 1 to 1000.")
    real_batch: int = Field(
        128, ge=1, description="Images in a real batch, and most decoded synthetic images in one, per class; at least 1."
    )
    augmentation: Literal["none", "dsa", "idc"] = Field("none", description="Siamese augmentation order: none, dsa, or idc.")
    families: tuple[Family, ...] = Field(
        ("flip", "brightness", "saturation", "contrast", "crop", "scale", "rotate", "cutout"),
        strict=False,
        description="Augmentation families in use, of flip, brightness, saturation, contrast, crop, scale, rotate, cutout; "
        "leave out flip where mirrored images change class.",
    )
    precision: Precision = Field(
        "float32",
        description="Number format of the matching: float32; bfloat16, torch's autocast within networks; tf32, that of NVIDIA"
        " GPUs' matrix products; float64, for checks. Part of the run's identity.",
    )
    classes_per_call: int | None = Field(
        None,
        ge=1,
        description="Most classes in one call between actors, at least 1: their graphs are in memory at the same time. null:"
        " chosen at the start from one measured class and cluster.memory_per_worker. Does not change results.",
    )

    @field_validator("aligner_images")
    @classmethod
    def _aligners_are_trained(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"aligner_images is {value}: must be at least 2 (HMDC: 2000), because mutual distillation with aligners that"
                " nothing trains compares random projections; matching.mutual_distillation=false turns it off"
            )
        return value


class BalanceConfig(Section):
    """The Gradient Balance Module (GBM)."""

    mode: Literal["none", "sum", "max", "ema", "last"] = Field(
        "none", description="How the history of gradient magnitudes is kept: none (off), sum, max, ema, or last."
    )
    period: int = Field(10, ge=1, description="Steps between two updates of the history, at least 1.")
    scope: Literal["iteration", "run"] = Field(
        "iteration",
        description="How long the history lasts: iteration (it starts anew with the networks), or run (each member's lives on,"
        " and weights are relative to the main member's, drawn or not: for pools whose members are drawn).",
    )
    distillation_weight: float = Field(
        1.0, ge=0, le=1e6, description="Factor lambda, 0 to 1e6, of the MD target in the image update."
    )
    spike_factor: float | None = Field(
        None,
        gt=1,
        description="A target whose loss in a class is more than this many times its running mean in the iteration is left out"
        " of that class and step, more than 1; null: never.",
    )

    @model_validator(mode="after")
    def _history_of_a_run_is_comparable(self) -> Self:
        if self.scope == "run" and self.mode in ("none", "sum"):
            why = (
                "keeps no history" if self.mode == "none" else "grows with every draw, so that a member drawn often counts less"
            )
            raise ValueError(f"scope is 'run', but mode {self.mode!r} {why}: mode must be ema, last or max")
        return self


class ImagesConfig(Section):
    """The synthetic images and their optimiser."""

    ipc: int = Field(1, ge=1, le=10_000, description="Images per class (IPC), 1 to 10000.")
    formation: int = Field(
        1, ge=1, le=8, description="Multi-formation factor f: each stored image holds f x f training images, 1 to 8."
    )
    initialise: str = Field(
        "real",
        description="What images start from: noise, real (random real images), kmeans (those nearest to k-means centroids), or"
        " set:FILE (those of a condensed set with the same classes, IPC and formation; FILE may be a run's folder).",
    )
    learning_rate: float = Field(0.1, gt=0, le=1e4, description="Learning rate of the images' SGD, up to 10000.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the images' SGD, 0 to 1.")
    normalise: Literal["none", "max"] = Field(
        "none", description="Scale the update of each image and channel by its largest entry (max, HMDC) or not (none, DC)."
    )
    clip: bool = Field(False, description="Keep pixels within [0, 1] after each step.")

    @field_validator("initialise")
    @classmethod
    def _images_have_an_origin(cls, value: str) -> str:
        origin, _, path = value.partition(":")
        if origin == "set" and path.strip():
            return f"set:{path.strip()}"
        if value not in INITIALISE:
            near = closest(value, INITIALISE)
            hint = f"; {near}" if near.startswith("did you mean") else ""
            raise ValueError(f"initialise is {value!r}: must be {', '.join(INITIALISE)}, or set:FILE{hint}")
        return value

    @property
    def initial_set(self) -> str | None:
        """Path of the condensed set that images start from; None when they start from something
        else."""
        return self.initialise.removeprefix("set:") if self.initialise.startswith("set:") else None


class ScheduleConfig(Section):
    """How long the run is and how networks are trained between image steps."""

    iterations: int = Field(100, ge=1, description="Iterations; each starts with fresh networks. At least 1.")
    steps: int = Field(1, ge=1, description="Image steps in an iteration, at least 1.")
    training: Literal["none", "synthetic", "real"] = Field(
        "none",
        description="What members are trained on after each image step but an iteration's last: none, synthetic, or real.",
    )
    inner_epochs: int = Field(
        1, ge=1, description="Epochs over the synthetic images after a step, for training on synthetic data; at least 1."
    )
    real_images: int = Field(
        2000, ge=1, description="Real images that members are trained on after a step, for training on real data; at least 1."
    )
    batch: int = Field(256, ge=1, description="Images in a training batch of a member, at least 1.")
    aligner_learning_rate: float = Field(0.01, gt=0, le=10, description="Learning rate of the aligners' Adam, up to 10.")
    checkpoint_every: int = Field(50, ge=1, description="Image steps between two checkpoints, at least 1.")
    checkpoints_kept: int = Field(3, ge=1, description="Newest checkpoints that are kept, at least 1.")
    checkpoint_failures: int = Field(
        3, ge=1, description="Checkpoints in a row that may fail to be saved, as on a full disk; the last of them ends the run."
    )
    checkpoint_uri: str | None = Field(
        None,
        min_length=1,
        description="Folder for this run's checkpoints alone: a path (relative: within the run's folder), or an address"
        " (file://, s3://, gs://); null: checkpoint, within the run's folder.",
    )
    picture_every: int = Field(50, ge=1, description="Image steps between two image grids sent to tracking, at least 1.")

    @field_validator("checkpoint_uri")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password:
            raise ValueError(
                "checkpoint_uri holds a password, which would be written beside the results: use the environment of the"
                " file system, such as AWS_SECRET_ACCESS_KEY"
            )
        return value
