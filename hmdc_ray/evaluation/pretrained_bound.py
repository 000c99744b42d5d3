"""The upper bound by networks that ``hmdc pretrain`` trained on the whole training split."""

from __future__ import annotations

import json
from pathlib import Path

from hmdc_ray.config import StudentConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.schema import DatasetInfo, Split
from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.device import torch_threads
from hmdc_ray.evaluation.images import split_batches
from hmdc_ray.evaluation.training import accuracy
from hmdc_ray.models.network import Network
from hmdc_ray.models.registry import build
from hmdc_ray.seeding import Key

RECORD = "accuracies.json"


def require_stored(folder: Path, fingerprint: str) -> None:
    """Refuse a folder whose networks were not trained on the training split of the data of this
    evaluation.

    Args:
        folder: output folder of ``hmdc pretrain``.
        fingerprint: fingerprint of the data, splits included.

    Raises:
        InputError: the folder holds no finished pre-training, or one on other data.
    """
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))["data_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"evaluation.whole_data is {str(folder)!r}, which holds no finished pre-training ({error}): "
            "give a folder of 'hmdc pretrain'"
        ) from error
    if found != fingerprint:
        raise InputError(
            f"evaluation.whole_data is {str(folder)!r}, trained on data of fingerprint {found!r}, but this data has "
            f"{fingerprint!r}: pre-train on this data, with the same data section"
        )


def stored_network(student: StudentConfig, folder: Path, info: DatasetInfo) -> Network:
    """The student's network with the weights of ``NAME.safetensors`` in an output folder of
    ``hmdc pretrain``.

    Raises:
        InputError: the file is missing, or is another network's.
    """
    weights, key, space = f"checkpoint:{folder / student.name}.safetensors", Key(0, "student"), info.normalisation
    try:
        return build(student.architecture, student.options, info.shape, len(info.class_names), key, weights, space=space)
    except InputError as error:
        raise InputError(f"evaluation.whole_data, student {student.name!r}: {error}") from error


def stored_accuracy(
    student: StudentConfig, folder: Path, dataset: ImageDataset, split: Split, *, threads: int, device: str
) -> float:
    """Accuracy in [0, 1] of the student's network in the folder, tested without further training.

    Args:
        student: student that has its weights in ``NAME.safetensors``.
        folder: output folder of ``hmdc pretrain``.
        dataset: data, normalised with its own mean and std as in the network's training.
        split: split to test on.
        threads: number of torch threads, at least 1; restored afterwards.
        device: device of the network, ``cpu`` or ``cuda``.

    Raises:
        InputError: the file is missing, or is another network's.
    """
    network = stored_network(student, folder, dataset.info)
    with torch_threads(threads):
        return accuracy(network.to(device), split_batches(dataset, split, device))
