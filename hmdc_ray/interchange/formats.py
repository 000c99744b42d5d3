"""Import and export of condensed sets by the name of a format; what each name means is in
``catalogue``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hmdc_ray.condensed import CondensedSet, save_condensed
from hmdc_ray.config.io import CONDENSED_FILE
from hmdc_ray.errors import InputError, closest
from hmdc_ray.interchange import dc, dd_ranking, hmdc, idc, image_folder, mtt, npz, safetensors_file, tensors
from hmdc_ray.interchange.assemble import Imported, assemble
from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS
from hmdc_ray.interchange.declared import FileContents, ImportOptions
from hmdc_ray.interchange.output import new_file, new_folder, require_free


@dataclass(frozen=True)
class _FolderKind:
    """What marks an exported folder: a file that it has, and the endings of all its files."""

    marker: str
    endings: frozenset[str]


_READERS: dict[str, Callable[[Path, ImportOptions], FileContents]] = {
    "dc": dc.read,
    "hmdc": hmdc.read,
    "idc": idc.read,
    "mtt": mtt.read,
    "tensors": tensors.read,
    "dd-ranking": dd_ranking.read,
    "image-folder": image_folder.read,
    "npz": npz.read,
    "safetensors": safetensors_file.read,
    "pt": tensors.read,
}
_WRITERS: dict[str, Callable[[Path, CondensedSet], None]] = {
    "dd-ranking": dd_ranking.write,
    "image-folder": image_folder.write,
    "npz": npz.write,
    "safetensors": safetensors_file.write,
    "pt": tensors.write,
}
_FOLDERS = {
    "dd-ranking": _FolderKind(dd_ranking.METADATA_FILE, frozenset({".pt", ".json"})),
    "image-folder": _FolderKind(image_folder.INDEX_FILE, frozenset({".png", ".json"})),
}
assert set(_READERS) == set(MEANINGS) and set(_WRITERS) == set(EXPORTS)


def import_set(path: str | Path, file_format: str, stated: ImportOptions | None = None) -> Imported:
    """Read a condensed set of another code. Nothing in the file is executed.

    Args:
        path: the file, or folder where the format is one.
        file_format: name of the format, one of :data:`hmdc_ray.interchange.catalogue.MEANINGS`.
        stated: facts that the file does not state.

    Raises:
        InputError: an unknown format; a file that is missing, broken, asks for code or is of
            another format; parts that are missing, contradict what is stated, or do not fit
            together. Names the file.
    """
    path, stated = Path(path), stated or ImportOptions()
    if file_format not in _READERS:
        raise InputError(f"--format is {file_format!r}, which is not known: {closest(file_format, _READERS)}")
    if stated.snapshot is not None and file_format != "dc":
        raise InputError(f"--snapshot is {stated.snapshot}, but only files of format 'dc' hold several: leave it out")
    try:
        return assemble(path, _READERS[file_format](path, stated), stated)
    except InputError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error


def import_file(
    path: str | Path, out: str | Path, file_format: str, stated: ImportOptions | None = None, *, overwrite: bool = False
) -> tuple[Path, Imported]:
    """Read as :func:`import_set` does, and write what ``hmdc evaluate`` and :func:`load_condensed`
    read.

    Args:
        path: the file, or folder.
        out: a file ``NAME.parquet``, or a folder for ``condensed.parquet``.
        file_format: name of the format, as for :func:`import_set`.
        stated: facts that the file does not state, as for :func:`import_set`.
        overwrite: whether to replace a file that is there.

    Returns:
        The file written, and the set.

    Raises:
        InputError: the set cannot be read, as for :func:`import_set`; the file exists, or cannot be
            written.
    """
    target = Path(out)
    if target.suffix != ".parquet":
        target /= CONDENSED_FILE
    require_free(target, overwrite)
    imported = import_set(path, file_format, stated)
    save_condensed(target, imported.condensed)
    return target, imported


def export_set(condensed: CondensedSet, out: str | Path, file_format: str, *, overwrite: bool = False) -> None:
    """Write a condensed set for other codes; ``out`` appears when it is complete.

    Args:
        condensed: the set.
        out: the file, or folder where the format is one.
        file_format: name of the format, one of :data:`hmdc_ray.interchange.catalogue.EXPORTS`.
        overwrite: whether to replace an earlier export.

    Raises:
        InputError: an unknown format; ``out`` exists and is not, or cannot be, overwritten; it
            cannot be written.
    """
    path = Path(out)
    if file_format not in _WRITERS:
        problem = "which is only imported" if file_format in _READERS else "which is not known"
        raise InputError(f"--format is {file_format!r}, {problem}: {closest(file_format, _WRITERS)}")
    kind = _FOLDERS.get(file_format)
    output = new_folder(path, overwrite, kind.marker, kind.endings) if kind else new_file(path, overwrite)
    with output as temporary:
        _WRITERS[file_format](temporary, condensed)
