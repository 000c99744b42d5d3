"""The split that the name of a file or folder says, by the keywords that Hugging Face documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from hmdc_ray.data.schema import Split
from hmdc_ray.errors import InputError

KEYWORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Words that name a split, in any case and of any width of letters."""

# A keyword between separators: whatever is no letter, digits included (``train1``), as Hugging Face
# has it.
_WORD = re.compile(rf"(?<![^\W\d_])({'|'.join(sorted(KEYWORDS, key=len, reverse=True))})(?![^\W\d_])")


def split_of(names: Iterable[str]) -> Split | None:
    """The one split that a name, or a path by its parts, says as a whole word:
    ``cifar10-train.parquet``, ``Testing``.

    Returns:
        The split; None where no part has a keyword.

    Raises:
        InputError: keywords of two splits (``train-test.parquet``).
    """
    parts = list(names)
    words = [word for part in parts for word in _WORD.findall(_plain(part))]
    splits = {KEYWORDS[word] for word in words}
    if len(splits) > 1:
        raise InputError(f"{'/'.join(parts)!r} names two splits ({' and '.join(map(repr, words))}): name one")
    return splits.pop() if splits else None


def hidden_keyword(name: str) -> str | None:
    """The keyword that a name contains as a part of a word (``trainset``, ``mytest``); None where
    it contains none."""
    plain = _plain(name)
    return next((word for word in sorted(KEYWORDS, key=len, reverse=True) if word in plain), None)


def _plain(name: str) -> str:
    """Letters in one case and one width; an i with another dot is how Turkish changes its case
    (TRAİN, traın)."""
    return unicodedata.normalize("NFKC", name).casefold().translate({0x0307: None, 0x0131: "i"})
