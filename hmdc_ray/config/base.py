"""What all sections of the configuration share: strictness, and the form of a named network."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

AUTO: Literal["auto"] = "auto"
"""Value of a resource that is chosen when a run starts, for the cluster that it finds; see
:mod:`hmdc_ray.actors.resources`."""

# Configurations from before resources were chosen have null for "chosen when the run starts".
Auto = Annotated[Literal["auto"], BeforeValidator(lambda value: AUTO if value is None else value)]


def require_plain(value: Any, name: str = "options") -> Any:
    """Accept only what YAML and JSON can write down and read back: the configuration is a record of
    the run."""
    if isinstance(value, dict):
        for key, entry in value.items():
            require_plain(entry, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            require_plain(entry, f"{name}.{index}")
    elif not (value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))):
        raise ValueError(
            f"{name} is {value!r}: must be text, a finite number, true, false, null, or a list or mapping of these"
        )
    return value


Options = Annotated[dict[str, Any], AfterValidator(require_plain)]


class Section(BaseModel):
    """Base of every section: immutable, strict about names and types (no text or booleans for
    numbers), numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


def default_name(architecture: str) -> str:
    """Name of a network that was given none: its architecture's, or its factory's for
    ``package.module:factory``."""
    library, _, name = architecture.partition(":")
    if library in ("timm", "torchvision"):
        return name
    return architecture.rpartition(":")[2].rpartition(".")[2]


class NetworkSection(Section):
    """A named network: an architecture and its options. A bare string stands for the
    architecture."""

    name: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Unique name in records and tables: letters, digits, '_', '.', '-'; empty: the architecture's.",
    )
    architecture: str = Field(
        description="A registered name (see 'hmdc architectures'), timm:NAME, torchvision:NAME, or 'package.module:factory'."
    )
    options: Options = Field({}, description="Options of the architecture, such as width or depth.")
    weights: str = Field(
        "scratch",
        description="What the network starts from: scratch (fresh weights), checkpoint:PATH (a safetensors file), or pretrained"
        " (timm's or torchvision's own weights).",
    )
    statistics: Literal["own", "data"] = Field(
        "own",
        description="Mean and standard deviation with which images come to the network: own (those that its weights were"
        " trained with, where these say so), or data (those of the data, whatever the weights).",
    )

    @field_validator("weights")
    @classmethod
    def _weights_have_an_origin(cls, value: str) -> str:
        origin, _, path = value.partition(":")
        if origin == "checkpoint" and path.strip():
            return f"checkpoint:{path.strip()}"
        if value not in ("scratch", "pretrained"):
            raise ValueError(f"weights is {value!r}: must be scratch, pretrained, or checkpoint:PATH")
        return value

    @property
    def checkpoint(self) -> str | None:
        """Path of the file with the weights; None when they come from elsewhere."""
        return self.weights.removeprefix("checkpoint:") if self.weights.startswith("checkpoint:") else None

    @model_validator(mode="before")
    @classmethod
    def _name_defaults_to_architecture(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"architecture": data}
        if isinstance(data, dict) and not data.get("name") and isinstance(data.get("architecture"), str):
            data = {**data, "name": default_name(data["architecture"])}
        return data


def require_unique(networks: tuple[NetworkSection, ...]) -> None:
    """Refuse two networks of one name.

    Raises:
        ValueError: a name is given twice; the message has the first.
    """
    names = [network.name for network in networks]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"two networks are called {doubled[0]!r}: give each its own 'name'")
