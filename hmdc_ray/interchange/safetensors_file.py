"""A whole condensed set as safetensors: ``images`` and ``labels``, and JSON text in the file's
metadata under ``hmdc_ray``."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from hmdc_ray.condensed import METADATA_KEY, CondensedSet, Metadata
from hmdc_ray.data.safe import require_file
from hmdc_ray.errors import InputError
from hmdc_ray.interchange.containers import read_container
from hmdc_ray.interchange.declared import FileContents, ImportOptions

_KEY = METADATA_KEY.decode()


def read(path: Path, stated: ImportOptions) -> FileContents:
    """Tensors of images and labels by their names, and the metadata of an export where it is in the
    file.

    Raises:
        InputError: not such a file.
    """
    require_file(path)
    try:
        with safe_open(path, framework="pt") as file:  # the library checks every shape against the size of the file
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a file of safetensors: {error}") from error
    return read_container(tensors, path, text)


def write(path: Path, condensed: CondensedSet) -> None:
    """Write images and labels bit for bit, and everything else as metadata.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {"images": condensed.images.contiguous(), "labels": condensed.labels.contiguous()}
    path.write_bytes(save(tensors, metadata={_KEY: Metadata.of(condensed).model_dump_json()}))
