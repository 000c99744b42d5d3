"""Weights in files: safetensors, which hold tensors and text only, so that reading one runs no
code."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hmdc_ray.errors import InputError
from hmdc_ray.models.network import Network
from hmdc_ray.models.normalisation import Normalisation
from hmdc_ray.system.files import atomic_path, require_regular

CHECKPOINT = "checkpoint:"
"""Prefix of an origin of weights that is a file; the path follows."""


def save_weights(network: Network, path: Path) -> None:
    """Write parameters and buffers, whole or not at all, under the names of
    ``network.module.state_dict()``.

    The file's metadata, as text: ``architecture``, ``options`` (JSON), ``classes``, ``shape`` (such
    as 3x32x32), and, where they are known, ``statistics`` (JSON): mean and std of the images that
    the module was trained on.

    Args:
        network: network to save, on any device.
        path: path of the safetensors file; its folder is made when it is missing, ``~`` stands for
            the home folder.

    Raises:
        InputError: the file cannot be written.
    """
    # Clones, because the format refuses tensors that share memory, as tied weights do.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.module.state_dict().items()}
    metadata = {
        "architecture": network.architecture,
        "options": json.dumps(dict(network.options), sort_keys=True),
        "classes": str(network.classes),
        "shape": str(network.image_shape),
    }
    trained = network.own or network.space
    if trained is not None:
        metadata["statistics"] = trained.to_json()
    with atomic_path(path.expanduser()) as temporary:
        save_file(state, temporary, metadata)


def load_weights(network: Network, path: Path) -> None:
    """Put the weights of a file of :func:`save_weights` into a network of the same architecture,
    options and classes.

    The statistics that the file names become the network's own.

    Args:
        network: network to fill, changed only if the whole file fits.
        path: path of the file; ``~`` stands for the home folder.

    Raises:
        InputError: the file is missing or is not safetensors; a tensor is missing or unexpected,
            has another shape or number format, or is not finite; the statistics are damaged, or
            have other channels.
    """
    path = path.expanduser()
    state, metadata = _read(path)
    own = _statistics(metadata, network, path)
    expected = network.module.state_dict()
    refusal = _misfit(state, expected)
    if refusal is not None:
        origin = f" of {metadata['architecture']} {metadata.get('options', '')}" if metadata.get("architecture") else ""
        raise InputError(f"weights {str(path)!r}{origin}: {refusal}")
    network.module.load_state_dict(state)
    if own is not None:
        network.set_normalisation(network.space, own)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # not a mapping
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        raise InputError(f"weights {str(path)!r} cannot be read ({reason}): must be a safetensors file") from error
    except SafetensorError as error:
        raise InputError(f"weights {str(path)!r} are not a whole safetensors file ({error})") from error


def _statistics(metadata: dict[str, str], network: Network, path: Path) -> Normalisation | None:
    """Normalisation that the file names; None of a file that names none, as those of earlier
    versions."""
    if "statistics" not in metadata:
        return None
    try:
        own = Normalisation.from_json(metadata["statistics"])
        own.require_channels(network.input_channels)
    except InputError as error:
        raise InputError(f"weights {str(path)!r}: {error}") from error
    return own


def _misfit(state: dict[str, Tensor], expected: dict[str, Tensor]) -> str | None:
    """Why the tensors do not fit, by the first name that does not; None when they do."""
    for name, wanted in expected.items():
        if name not in state:
            return f"{name!r} is missing, must hold every tensor of the network"
        found = state[name]
        if found.shape != wanted.shape:
            return f"{name!r} has shape {tuple(found.shape)}, must be {tuple(wanted.shape)}"
        if found.dtype != wanted.dtype:
            return f"{name!r} is {_format(found)}, must be {_format(wanted)}"
        if not torch.isfinite(found).all():
            return f"{name!r} holds numbers that are not finite, must be trained weights"
    for name in state:
        if name not in expected:
            return f"{name!r} is unexpected, must hold the tensors of the network alone"
    return None


def _format(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
