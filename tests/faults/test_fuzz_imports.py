"""Condensed sets, imported files and checkpoints of strangers, spoilt at random: each is read or
refused in one line.

``HMDC_FUZZ_CASES=5000 pytest tests/faults -k fuzz`` is the long mode.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interchange.sets import make_set
from safetensors.numpy import save as save_safetensors
from torch.utils.data import TensorDataset

from faults.columns import columns
from faults.fuzz import NOT_FINITE, ODD_TEXTS, fresh, fuzz, plain_values, reads_or_refuses, spoilt
from hmdc_ray.condensed import METADATA_KEY, Metadata, load_condensed, save_condensed
from hmdc_ray.interchange.catalogue import EXPORTS, MEANINGS
from hmdc_ray.interchange.declared import ImportOptions
from hmdc_ray.interchange.formats import export_set, import_set
from hmdc_ray.server.checkpoint import CheckpointFolder, Manifest

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),  # of Pillow and torch, about what they then refuse
]


@pytest.fixture(scope="module")
def originals(scratch: Path) -> dict[str, dict[str, bytes]]:
    """For each format the files of a good set, by name, the first of which is read."""
    images = make_set(3, formation=1)
    pair = [images.images, images.labels]
    contents = {
        "dc": {"data": [[images.images, images.labels], pair], "accs_all_exps": {"ConvNet": [np.float64(0.5)]}},
        "hmdc": {"synthetic_images": images.images.reshape(3, 2, 3, 6, 4), "factor": 2, "init": "aug"},
        "idc": [images.images.sigmoid(), images.labels],
        "mtt": images.images,
        "tensors": {"images": images.images, "labels": images.labels},
    }
    found: dict[str, dict[str, bytes]] = {}
    for name, content in contents.items():
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=name != "tensors")
        found[name] = {"images.pt": file.getvalue()}
    labels = io.BytesIO()
    torch.save(images.labels, labels)
    found["mtt"]["labels.pt"] = labels.getvalue()
    found["idc"]["args.txt"] = b'{"factor": 1, "decode_type": "single"}'
    for name in EXPORTS:
        path = scratch / f"original-{name}"
        export_set(images, path, name)
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        found[name] = {str(file.relative_to(path)) if path.is_dir() else "images": file.read_bytes() for file in files}
    assert set(found) == set(MEANINGS)
    return found


def put(folder: Path, files: dict[str, bytes]) -> None:
    fresh(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


STATED_COLOUR = ImportOptions(statistics=((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
FOLDERS = ("dd-ranking", "image-folder")


def import_one(folder: Path, name: str, first: str) -> None:
    stated = None if name in EXPORTS else STATED_COLOUR
    import_set(folder if name in FOLDERS else folder / first, name, stated).condensed.decoded()


def test_the_originals_are_read(originals: dict[str, dict[str, bytes]], scratch: Path) -> None:
    for name, files in originals.items():
        put(scratch / "import", files)
        import_one(scratch / "import", name, next(iter(files)))


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(MEANINGS)))
def test_imported_files(data: st.DataObject, name: str, originals: dict[str, dict[str, bytes]], scratch: Path) -> None:
    files = dict(originals[name])
    changed = data.draw(st.sampled_from(sorted(files)))
    files[changed] = data.draw(spoilt(files[changed]))
    put(scratch / "import", files)
    reads_or_refuses(lambda: import_one(scratch / "import", name, next(iter(originals[name]))))


DTYPES = sorted({dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}, key=str)
SHAPES = (
    (),
    (0,),
    (1,),
    (6,),
    (6, 3, 6, 4),
    (6, 1, 6, 4),
    (3, 2, 3, 6, 4),
    (0, 3, 6, 4),
    (6, 0, 6, 4),
    (10**6, 0, 3, 6, 4),
    (6, 6),
)


def odd_tensor(dtype: torch.dtype, shape: tuple[int, ...], fill: float) -> Any:
    try:
        return torch.full(shape, fill).to(dtype)
    except (RuntimeError, TypeError, ValueError, OverflowError, NotImplementedError):
        try:
            return torch.empty(shape, dtype=dtype)
        except (RuntimeError, TypeError, NotImplementedError):
            return None


TENSORS = st.builds(
    odd_tensor, st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from([0.0, 1.0, -3.0, *NOT_FINITE])
)
TENSORS |= st.sampled_from(
    [torch.zeros(1).expand(2**40), torch.zeros(1, 3, 6, 4).expand(2**30, 3, 6, 4), torch.eye(3).to_sparse()]
)
THINGS = TENSORS | plain_values() | st.sampled_from([make_set().images, torch.arange(6) % 3, torch.tensor([0, 1, 2] * 2)])


@st.composite
def torch_contents(draw: st.DrawFn) -> Any:
    """What files of ``torch.save`` may hold, with odd things in the places where readers look."""
    keys = (
        "images",
        "labels",
        "metadata",
        "data",
        "synthetic_images",
        "factor",
        "init",
        "Target",
        "x_train",
        "y",
        0,
        "3",
        "cat",
    )
    match draw(st.sampled_from(["thing", "pair", "dict", "dc", "classes", "class dict", "dataset"])):
        case "thing":
            return draw(THINGS)
        case "pair":
            return [draw(THINGS), draw(THINGS)]
        case "classes":
            return draw(st.lists(THINGS, max_size=4))
        case "class dict":
            names = draw(st.lists(st.sampled_from(ODD_TEXTS) | st.integers(-3, 10**30), max_size=3, unique=True))
            return {name: draw(THINGS) for name in names}
        case "dataset":
            dataset = TensorDataset(torch.zeros(1))
            vars(dataset)["tensors"] = (draw(THINGS), draw(THINGS)) if draw(st.booleans()) else draw(THINGS)
            return dataset
        case "dc":
            return {"data": [[draw(THINGS), draw(THINGS)]]}
        case _:
            return {key: draw(THINGS) for key in keys if draw(st.booleans())}


@st.composite
def metadata_texts(draw: st.DrawFn) -> str:
    """Metadata of a good set with some fields replaced."""
    fields = json.loads(Metadata.of(make_set()).model_dump_json())
    for name in draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        fields[name] = draw(plain_values())
    return json.dumps(fields)


def write_odd(path: Path, kind: str, data: st.DataObject) -> str:
    """A file with odd content; returns a format that it may be read as."""
    if kind == "torch":
        torch.save(data.draw(torch_contents()), path, _use_new_zipfile_serialization=data.draw(st.booleans()))
        return data.draw(st.sampled_from(["dc", "hmdc", "idc", "mtt", "tensors", "pt"]))
    images, labels = (data.draw(TENSORS) for _ in range(2))
    if data.draw(st.booleans()):
        images, labels = make_set().images, make_set().labels
    text = data.draw(metadata_texts())
    if kind == "npz":
        odd = [
            np.array(["a", ""]),
            np.zeros(3, "V0"),
            np.zeros(2, "M8[s]"),
            np.zeros(2, [("a", "f4")]),
            np.array(text),
            np.float16(2),
        ]
        arrays = {
            name: data.draw(st.sampled_from(odd)) for name in ("images", "labels", "metadata") if data.draw(st.booleans())
        }
        good: dict[str, Any] = {
            "images": make_set().images.numpy(),
            "labels": make_set().labels.numpy(),
            "metadata": np.array(text),
        }
        np.savez(path.with_suffix(".npz"), **(good | arrays))
        path.with_suffix(".npz").rename(path)
    else:
        header: dict[str, Any] = {"__metadata__": {"hmdc_ray": text}}
        for name, tensor, dtype in (("images", images, "F32"), ("labels", labels, "I64")):
            shape = list(tensor.shape) if isinstance(tensor, torch.Tensor) else [2]
            header[name] = {
                "dtype": data.draw(st.sampled_from([dtype, "F8_E4M3", "BOOL", "F4", "U64", "C64", "x"])),
                "shape": shape,
            }
            header[name]["data_offsets"] = [0, data.draw(st.sampled_from([0, 8, 64, 2**40]))]
        raw = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(64))
    return kind


@fuzz
@given(data=st.data(), kind=st.sampled_from(["torch", "npz", "safetensors"]))
def test_imported_contents(data: st.DataObject, kind: str, scratch: Path) -> None:
    folder = fresh(scratch / "import")
    try:
        name = write_odd(folder / "images.pt", kind, data)
    except (RuntimeError, KeyError, NotImplementedError, OverflowError, UnicodeEncodeError):
        return  # cannot be written
    reads_or_refuses(
        lambda: import_set(folder / "images.pt", name, None if kind != "torch" else STATED_COLOUR).condensed.decoded()
    )


@fuzz
@given(data=st.data())
def test_condensed_sets(data: st.DataObject, scratch: Path) -> None:
    file = scratch / "condensed.parquet"
    save_condensed(file, make_set())
    if data.draw(st.booleans()):
        file.write_bytes(data.draw(spoilt(file.read_bytes())))
    else:
        table = pq.read_table(file)
        for name in ("pixels", "label"):
            if data.draw(st.booleans()):
                column = data.draw(columns())[: table.num_rows]
                try:
                    table = table.set_column(table.schema.get_field_index(name), name, column)
                except pa.ArrowException:
                    return
        try:
            pq.write_table(table.replace_schema_metadata({METADATA_KEY: data.draw(metadata_texts())}), file)
        except (pa.ArrowException, OSError):
            return
    reads_or_refuses(lambda: load_condensed(file).decoded())


@fuzz
@given(data=st.data())
def test_checkpoints_with_right_checksums(data: st.DataObject, scratch: Path) -> None:
    folder = fresh(scratch / "checkpoint")
    tensors = save_safetensors({"server/images": np.zeros((2, 3))}, metadata={"values": json.dumps(data.draw(plain_values()))})
    if data.draw(st.booleans()):
        tensors = data.draw(spoilt(tensors))
    manifest = Manifest(
        3, data.draw(st.sampled_from(ODD_TEXTS[:5])), hashlib.sha256(tensors).hexdigest(), {"data": 1}
    ).to_bytes()
    (folder / "000000003.safetensors").write_bytes(tensors)
    (folder / "000000003.json").write_bytes(data.draw(spoilt(manifest)) if data.draw(st.booleans()) else manifest)
    reads_or_refuses(lambda: CheckpointFolder(folder).load(3))
