"""timm's networks, their taps, and their pretrained weights from the Hugging Face hub.

Taps are the last four of timm's ``feature_info`` that are maps; of a vision transformer with one
class token (ViT, DeiT and their like), all its blocks. Pretrained weights are read from safetensors
files alone, which run no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
from safetensors import SafetensorError
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from hmdc_ray.errors import InputError
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import TapSpec

LISTING = "timm.list_models()"
"""The call that lists all networks."""

_MOST_MAPS = 4
_DEFAULT_SIZE = (224, 224)
_TIMEOUT = 10.0  # seconds to wait for the hub's first answer


@cache
def names() -> list[str]:
    """All names, bare and with the tag of their weights."""
    return sorted({*timm.list_models(), *timm.list_models(pretrained=True)})


def channels(shape: ImageShape, pretrained: bool) -> int:
    """The images' own; 3, for which grey is repeated, with pretrained weights."""
    return 3 if pretrained else shape.channels


def create(name: str, classes: int, channels: int, pretrained: bool, options: Mapping[str, Any]) -> nn.Module:
    """Make a network, see :class:`hmdc_ray.models.external.Library`.

    Raises:
        InputError: the weights cannot be had or read.
    """
    wanted = {"num_classes": classes, "in_chans": channels, **options}
    if not pretrained:
        module: nn.Module = timm.create_model(name, **wanted)
        return module
    path = _weights_file(name)
    try:
        source = {"file": str(path), "custom_load": False}
        module = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=source, **wanted)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"pretrained weights {str(path)!r} cannot be read ({error}): delete the file to fetch it anew"
        ) from error
    for head in _classifiers(module):  # timm keeps the pretrained one where the numbers of classes agree
        module.get_submodule(head).reset_parameters()  # type: ignore[operator]  # a linear layer or a convolution
    return module


def normalisation(name: str, module: nn.Module) -> Normalisation | None:
    """Normalisation in timm's settings of the weights."""
    del name
    mean, std = (_settings(module).get(which) for which in ("mean", "std"))
    return Normalisation(tuple(mean), tuple(std)) if mean and std else None


def default_size(module: nn.Module) -> tuple[int, int]:
    """Height and width of the images that timm trained the network on."""
    size = _settings(module).get("input_size")
    return (size[1], size[2]) if size else _DEFAULT_SIZE


def any_size(module: nn.Module) -> bool:
    """Whether it is no vision transformer: of small images these would make a handful of tokens."""
    return not hasattr(module, "num_prefix_tokens")


def candidates(module: nn.Module) -> tuple[str, ...]:
    """The modules of timm's ``feature_info``."""
    declared = getattr(module, "feature_info", None) or []
    known = dict(module.named_modules())
    return tuple(entry["module"] for entry in declared if entry.get("module") and entry["module"] in known)


def taps(module: nn.Module, features: Mapping[str, Any]) -> tuple[TapSpec, ...]:
    """Token sequences of a transformer with one class token and a known grid; else maps with
    channels first; else none."""
    ordered = [name for name in candidates(module) if isinstance(features.get(name), Tensor)]
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if getattr(module, "num_prefix_tokens", 0) == 1 and getattr(module, "cls_token", None) is not None and grid is not None:
        tokens = (1, 1 + grid[0] * grid[1])
        blocks = [name for name in ordered if features[name].shape[:2] == tokens]
        return tuple(TapSpec(block, "tokens", tuple(grid)) for block in blocks)
    widths = {entry["module"]: entry["num_chs"] for entry in getattr(module, "feature_info", None) or []}
    if getattr(module, "output_fmt", "NCHW") not in (None, "NCHW"):
        return ()
    maps = [name for name in ordered if features[name].ndim == 4 and features[name].shape[1] == widths[name]]
    return tuple(TapSpec(name, "map") for name in maps[-_MOST_MAPS:])


def classifier(module: nn.Module) -> str | None:
    """The name that timm gives; of several heads the first."""
    return next(iter(_classifiers(module)), None)


def _settings(module: nn.Module) -> Mapping[str, Any]:
    settings: object = getattr(module, "pretrained_cfg", None)
    return settings if isinstance(settings, Mapping) else {}


def _classifiers(module: nn.Module) -> tuple[str, ...]:
    declared = _settings(module).get("classifier") or ()
    return (declared,) if isinstance(declared, str) else tuple(declared)


def _weights_file(name: str) -> Path:
    """The safetensors file with a network's pretrained weights: from the hub's local cache, else
    downloaded into it.

    Only the hub's first answer is waited for, once: huggingface_hub repeats a download without a
    network for minutes.
    """
    settings = get_pretrained_cfg(name)
    if settings is None or not settings.hf_hub_id:
        raise InputError(
            "it has no pretrained weights on the Hugging Face hub: use scratch, checkpoint:PATH or another network"
        )
    filename = Path(settings.hf_hub_filename or "model").with_suffix(".safetensors").name
    cached = huggingface_hub.try_to_load_from_cache(settings.hf_hub_id, filename)
    if isinstance(cached, str):
        return Path(cached)
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(settings.hf_hub_id, filename), timeout=_TIMEOUT)
        return Path(huggingface_hub.hf_hub_download(settings.hf_hub_id, filename))
    # Every exception: it lets those of its HTTP client through, which is not the same one in all
    # its versions.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"pretrained weights {settings.hf_hub_id}/{filename} are neither in the local cache nor reachable on the "
            f"Hugging Face hub ({type(error).__name__}: {reason}): fetch them once on a machine with a network and copy its "
            "Hugging Face cache, or use scratch or checkpoint:PATH"
        ) from error
