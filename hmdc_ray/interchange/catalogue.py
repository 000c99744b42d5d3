"""The formats by name, each with what its name states about a file; free of torch, for the command
line's help."""

from __future__ import annotations

MEANINGS: dict[str, str] = {
    "dc": "file of DC's code (also DSA, DM): normalised, f 1, labels in the file, last snapshot unless --snapshot",
    "hmdc": "synthetic_images.pth of HMDC's code: normalised, f in the file, labels by position",
    "idc": "data.pt of IDC's code: pixel scale, packed, labels in the file; f from its args.txt, or --formation",
    "mtt": "images_best.pt of MTT's code, labels_best.pt beside it: normalised, not ZCA-whitened, f 1",
    "tensors": "any file of torch.save with images and labels, or --labels: a pair, TensorDataset, dict (images/labels, "
    "data/target, x/y, ..), or a tensor for each class; uint8 are pixels 0 to 255, else normalised, f 1, unless stated",
    "dd-ranking": "folder of DD-Ranking with images.pt and labels.pt: decoded, normalised, not ZCA-whitened, f 1",
    "image-folder": "8-bit images in a folder per class: pixel scale; index.json of an export states the rest, else f 1",
    "npz": "arrays named as in tensors; an export's metadata states the rest, else as tensors",
    "safetensors": "tensors named as in tensors; an export's metadata states the rest, else as tensors",
    "pt": "as tensors, with an export's metadata, which states the rest",
}
"""What the name of each format says about a file, and what is assumed."""

EXPORTS: tuple[str, ...] = ("dd-ranking", "image-folder", "npz", "safetensors", "pt")
"""Formats that are also written."""
