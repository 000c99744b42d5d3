"""Where the labelled images come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, StrictInt, StrictStr, field_validator

from hmdc_ray.config.base import Section
from hmdc_ray.config.statistics import KNOWN, OWN, parse_statistics

Side = Annotated[int, Field(ge=1, le=1024)]
ClassName = Annotated[StrictStr | StrictInt, Field(union_mode="left_to_right")]


class DataConfig(Section):
    """Where the labelled images come from and how they are split."""

    source: str = Field("digits", min_length=1, description="'digits' (built in), a Parquet file, or a folder of them.")
    image_column: str | None = Field(None, description="Column with the images; null: found by its name or type.")
    label_column: str | None = Field(None, description="Column with the class labels; null: found by its name.")
    split_column: str | None = Field(
        None, description="Column that names each row's split (train, validation, test); null: 'split' where there is one."
    )
    classes: Annotated[tuple[ClassName, ...], Strict(False)] | None = Field(
        None, min_length=1, description="Names or numbers of the classes to use, in the order that they get; null: all."
    )
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
        description=f"Mean and standard deviation to normalise with: a name ({', '.join(KNOWN)}), or numbers per channel"
        f" of pixels 0 to 1, MEAN,..:STD,.. or {{mean: [..], std: [..]}}; {OWN}: computed from the training split; null: by the"
        " name that 'hmdc prepare torchvision:NAME' recorded, or else own.",
    )
    cache: str | None = Field(
        None,
        description="Folder on each node for decoded images and for accuracies on real ones; null: hmdc_ray in the user's cache"
        " folder.",
    )

    @field_validator("statistics", mode="before")
    @classmethod
    def _statistics_may_be_a_mapping(cls, value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) != {"mean", "std"}:
                raise ValueError(f"statistics has {', '.join(map(str, value)) or 'nothing'}: must have mean and std")
            columns = [each if isinstance(each, list | tuple) else [each] for each in (value["mean"], value["std"])]
            return ":".join(",".join(map(str, column)) for column in columns)
        return value

    @field_validator("statistics")
    @classmethod
    def _statistics_can_be_read(cls, value: str | None) -> str | None:
        if value not in (None, OWN):
            try:
                parse_statistics(value)
            except ValueError as error:
                raise ValueError(f"statistics is {error}") from error
        return value

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):  # Python takes True for 1
            raise ValueError("must be 1, 3, or null")
        return value
