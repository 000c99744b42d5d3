"""What ends a run is marked when its folder holds something to resume from, unless it would end in
the same way again."""

from __future__ import annotations

import pytest

from hmdc_ray.errors import DeadEndError, InputError, LostProcessError, RunError, is_resumable, mark_resumable


@pytest.mark.parametrize("error", [InputError("full"), RunError("lost"), LostProcessError("gone"), OSError(), KeyError()])
def test_errors_are_marked(error: Exception) -> None:
    assert not is_resumable(error)
    mark_resumable(error)
    assert is_resumable(error)


def test_a_dead_end_is_not() -> None:
    error = DeadEndError("no member is left")
    mark_resumable(error)
    assert not is_resumable(error)
