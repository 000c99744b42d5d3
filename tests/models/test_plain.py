"""Torch's own layers are asked for within the block alone."""

from __future__ import annotations

import pytest

from hmdc_ray.models.plain import is_plain, plain_layers


def test_the_switch_is_back_after_the_block_however_it_ends() -> None:
    with plain_layers():
        with pytest.raises(ValueError, match="ends"), plain_layers():
            raise ValueError("ends")
        assert is_plain()
    assert not is_plain()
