"""Tensors on the memory of messages."""

from __future__ import annotations

import warnings

import numpy as np

from hmdc_ray.tensors import view


def test_a_message_that_must_not_be_written_to_is_read_without_a_copy_or_a_warning() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = view(array)
    assert tensor.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert tensor.data_ptr() == array.ctypes.data
