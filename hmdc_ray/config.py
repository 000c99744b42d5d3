"""The configuration of a run: typed, frozen, complete. Unknown keys are errors (see :mod:`hmdc_ray.config_io`)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

from hmdc_ray.errors import closest


def _require_plain(value: Any, name: str = "options") -> Any:
    """Accept only what YAML and JSON can write down and read back: the configuration is a record of the run."""
    if isinstance(value, dict):
        for key, entry in value.items():
            _require_plain(entry, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _require_plain(entry, f"{name}.{index}")
    elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
        raise ValueError(
            f"{name} is {value!r}: must be text, a finite number, true, false, null, or a list or mapping of these"
        )
    return value


Family = Literal["flip", "brightness", "saturation", "contrast", "crop", "scale", "rotate", "cutout"]
Options = Annotated[dict[str, Any], AfterValidator(_require_plain)]
Side = Annotated[int, Field(ge=1, le=1024)]
STATISTICS = ("cifar10", "cifar100", "mnist", "fashionmnist", "svhn")
"""Data sets whose mean and standard deviation are known (see :mod:`hmdc_ray.data.statistics`)."""


RESERVED_NAMES = frozenset({"server", "distillation"})
"""Names that members cannot have, because records and checkpoints use them."""


class Section(BaseModel):
    """Base of every section: immutable, strict about names and types (no text or booleans for numbers), numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where the labelled images come from and how they are split."""

    source: str = Field("digits", min_length=1, description="'digits' (built in), a Parquet file, or a folder of them.")
    image_column: str | None = Field(None, description="Column with the images; null: found by its name or type.")
    label_column: str | None = Field(None, description="Column with the class labels; null: found by its name.")
    image_size: Annotated[tuple[Side, Side], Strict(False)] | None = Field(
        None, description="[height, width] in pixels, 1 to 1024, to which images are resized (bilinear); null: as stored."
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1 (grey) or 3 (colour) to convert images to; null: as the first image is."
    )
    validation_fraction: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Part of each class of the training split kept for validation, 0 to 1; always the same images.",
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="Part of each class kept for testing when the source has no test files, 0 to 1."
    )
    statistics: str | None = Field(
        None,
        description=f"Known mean and standard deviation to normalise with ({', '.join(STATISTICS)});"
        " null: computed from the training split.",
    )
    cache: str | None = Field(
        None, description="Folder on each node for the decoded images; null: hmdc_ray in the user's cache folder."
    )

    @field_validator("statistics")
    @classmethod
    def _statistics_are_known(cls, value: str | None) -> str | None:
        if value is not None and value not in STATISTICS:
            raise ValueError(f"statistics is {value!r}, which is not known; {closest(value, STATISTICS)}")
        return value

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # Python takes True for 1
            raise ValueError("must be 1, 3, or null")
        return value


def default_name(architecture: str) -> str:
    """Name of a network that was given none: its architecture's, or its factory's for ``package.module:factory``."""
    return architecture.rpartition(":")[2].rpartition(".")[2]


class NetworkSection(Section):
    """A named network: an architecture and its options. A bare string stands for the architecture."""

    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Unique name in records and tables: letters, digits, '_', '.', '-'; empty: the architecture's.",
    )
    architecture: str = Field(description="A registered name (see 'hmdc architectures') or 'package.module:factory'.")
    options: Options = Field({}, description="Options of the architecture, such as width or depth.")

    @model_validator(mode="before")
    @classmethod
    def _name_defaults_to_architecture(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"architecture": data}
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("architecture"), str):
            data = {**data, "name": default_name(data["architecture"])}
        return data


def _require_unique(networks: tuple[NetworkSection, ...]) -> None:
    names = [network.name for network in networks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"two networks are called {doubled[0]!r}: give each its own 'name'")


class MemberConfig(NetworkSection):
    """One member of the pool: a network and where it runs."""

    learning_rate: float = Field(
        0.01, gt=0, le=100, description="Learning rate, up to 100, of the network's SGD between image steps."
    )
    loss_weight: float = Field(
        1.0, ge=0, le=1e6, description="Factor lambda, 0 to 1e6, of this member's target in the image update."
    )
    cutmix: bool = Field(
        False, description="CutMix (probability 0.5) while training this member on real images; not for a ViT."
    )
    num_cpus: float | None = Field(
        None, gt=0, description="Logical CPUs of the member's actor; more than 0; null: the node's CPUs shared over the actors."
    )
    num_gpus: float = Field(0, ge=0, description="GPUs of the member's actor, may be a fraction; 0: CPU.")
    resources: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Custom Ray resources of the member's actor: names and amounts."
    )


class PoolConfig(Section):
    """The networks that the synthetic images are learned with."""

    members: tuple[MemberConfig, ...] = Field(
        ({"architecture": "convnet"},),  # type: ignore[arg-type]  # validated into MemberConfig
        min_length=1,
        strict=False,
        description="The pool's members, in the order in which their gradients are summed.",
    )
    main: str | None = Field(None, description="Name of the main member; null: the first.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> PoolConfig:
        _require_unique(self.members)
        names = [member.name for member in self.members]
        for reserved in RESERVED_NAMES & set(names):
            raise ValueError(
                f"a member is called {reserved!r}, which records and checkpoints use themselves: give it another 'name'"
            )
        if self.main is not None and self.main not in names:
            raise ValueError(f"main is {self.main!r}, which is not a member: known are {', '.join(names)}")
        return self

    @property
    def main_index(self) -> int:
        """Position of the main member in ``members``."""
        return 0 if self.main is None else [member.name for member in self.members].index(self.main)


class MatchingConfig(Section):
    """What is matched between real and synthetic images, and on which batches."""

    metric: Literal["mse", "cosine", "l1"] = Field(
        "mse", description="Distance between gradients: mse (HMDC), cosine (DC), l1 (IDC)."
    )
    mutual_distillation: bool = Field(False, description="Match the gradients of the members' feature agreement too (MD).")
    peer_gradient: Literal["exact", "detached"] = Field(
        "exact", description="Gradient of MD through the other members: exact (three exchanges) or detached (two, approximate)."
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
    precision: Literal["float32", "float64"] = Field(
        "float32",
        description="Number format of images, networks, gradients: float32, or float64 for checks. Part of the run's identity.",
    )
    classes_per_call: int | None = Field(
        None,
        ge=1,
        description="Classes in one call between actors, at least 1, to bound memory; null: all. Does not change results.",
    )


class BalanceConfig(Section):
    """The Gradient Balance Module (GBM)."""

    mode: Literal["none", "sum", "max", "ema", "last"] = Field(
        "none", description="How the history of gradient magnitudes is kept: none (off), sum, max, ema, or last."
    )
    period: int = Field(10, ge=1, description="Steps between two updates of the history, at least 1.")
    distillation_weight: float = Field(
        1.0, ge=0, le=1e6, description="Factor lambda, 0 to 1e6, of the MD target in the image update."
    )


class ImagesConfig(Section):
    """The synthetic images and their optimiser."""

    ipc: int = Field(1, ge=1, le=10_000, description="Images per class (IPC), 1 to 10000.")
    formation: int = Field(
        1, ge=1, le=8, description="Multi-formation factor f: each stored image holds f x f training images, 1 to 8."
    )
    initialise: Literal["noise", "real", "kmeans"] = Field(
        "real",
        description="What images start from: noise, real (random real images), or kmeans (those nearest to k-means centroids).",
    )
    learning_rate: float = Field(0.1, gt=0, le=1e4, description="Learning rate of the images' SGD, up to 10000.")
    momentum: float = Field(0.5, ge=0, lt=1, description="Momentum of the images' SGD, 0 to 1.")
    normalise: Literal["none", "max"] = Field(
        "none", description="Scale the update of each image and channel by its largest entry (max, HMDC) or not (none, DC)."
    )
    clip: bool = Field(False, description="Keep pixels within [0, 1] after each step.")


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
    picture_every: int = Field(50, ge=1, description="Image steps between two image grids sent to tracking, at least 1.")


class StudentConfig(NetworkSection):
    """A network that an evaluation trains from scratch on the images."""


class EvaluationConfig(Section):
    """How the condensed images are judged at the end."""

    protocol: Literal["dc"] = Field(
        "dc", description="Training recipe of the students: dc (that of dataset condensation with gradient matching)."
    )
    students: tuple[StudentConfig, ...] = Field(
        ({"architecture": "convnet"},),  # type: ignore[arg-type]
        strict=False,
        description="Architectures trained on the condensed images; include some that are not in the pool.",
    )
    seeds: int = Field(3, ge=1, le=1000, description="Networks trained per architecture, 1 to 1000.")
    baselines: Literal["none", "random", "kmeans", "both"] = Field(
        "both", description="Real images of the same number to compare with: none, random, kmeans, or both."
    )
    epochs: int | None = Field(
        None, ge=1, description="Epochs E of the recipe, at least 1; null: 300, or 1000 with augmentation."
    )
    augmentation: bool = Field(False, description="Crop, scale and rotate training images, as the DC protocol does for MNIST.")
    num_gpus: float = Field(0, ge=0, description="GPUs of each student's training, may be a fraction; 0: CPU.")
    split: Literal["test", "validation"] = Field("test", description="Split that accuracy is measured on: test or validation.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> EvaluationConfig:
        _require_unique(self.students)
        return self


class TrackingConfig(Section):
    """What is sent to MLflow."""

    enabled: bool = Field(True, description="Log the run to MLflow.")
    uri: str | None = Field(None, description="MLflow tracking address; null: MLFLOW_TRACKING_URI, or SQLite beside the runs.")

    @field_validator("uri")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password:
            raise ValueError("uri holds a password, which would be written beside the results: use MLFLOW_TRACKING_PASSWORD")
        return value

    experiment: str = Field("hmdc-ray", min_length=1, description="MLflow experiment name.")


class ClusterConfig(Section):
    """Resources and deadlines of the Ray actors."""

    threads: int = Field(
        1, ge=1, le=256, description="Torch threads of every actor and student, 1 to 256; part of the run's identity."
    )
    server_cpus: float = Field(0.1, ge=0, description="Logical CPUs of the parameter server's actor, 0 or more.")
    start_timeout: float = Field(120, gt=0, description="Seconds to wait until every actor has its resources and is ready.")
    call_timeout: float = Field(3600, gt=0, description="Seconds that one call to an actor may take.")


class RunConfig(Section):
    """A complete run. Written to ``config.yaml`` in the run's folder, from which it can be repeated."""

    name: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
        description="Name of the run, and of its folder under runs/: letters, digits, '_', '-', and '.' after the first.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed from which every random draw is derived, 0 to 2**63 - 1.")
    data: DataConfig = DataConfig()
    pool: PoolConfig = PoolConfig()
    matching: MatchingConfig = MatchingConfig()
    balance: BalanceConfig = BalanceConfig()
    images: ImagesConfig = ImagesConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    cluster: ClusterConfig = ClusterConfig()
