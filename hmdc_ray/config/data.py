"""Where the labelled images come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator

from hmdc_ray.config.base import Section
from hmdc_ray.errors import closest

Side = Annotated[int, Field(ge=1, le=1024)]
STATISTICS = ("cifar10", "cifar100", "mnist", "fashionmnist", "svhn")
"""Data sets whose mean and standard deviation are known (see :mod:`hmdc_ray.data.statistics`)."""


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
        None,
        description="Folder on each node for decoded images and for accuracies on real ones; null: hmdc_ray in the user's cache"
        " folder.",
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
