"""Results of a server's shards as one."""

from __future__ import annotations

import numpy as np
import pytest

from hmdc_ray.exchange.messages import Snapshot, State, join

IMAGES = np.arange(12.0).reshape(3, 1, 1, 2, 2)


def test_parts_are_joined_in_the_order_of_the_classes() -> None:
    joined = join(Snapshot(4, IMAGES[:2]), Snapshot(4, IMAGES[2:]))
    assert joined.version == 4 and np.array_equal(joined.images_KICHW, IMAGES)
    state = join(*(State({"images": IMAGES[rows]}, {"version": 4}) for rows in (slice(1), slice(1, 3))))
    assert state.values == {"version": 4} and np.array_equal(state.arrays["images"], IMAGES)
    assert join((1,), (), (5, 6)) == (1, 5, 6) and join(None, None) is None
    with pytest.raises(TypeError, match="cannot join str"):
        join("a", "b")


def test_parts_of_different_versions_are_not_joined() -> None:
    with pytest.raises(RuntimeError, match="a part of the images belongs to image version 4, but the images are at version 0"):
        join(Snapshot(0, IMAGES), Snapshot(4, IMAGES))
    with pytest.raises(RuntimeError, match="a part of a state belongs to image version 4, but the images are at version 0"):
        join(State({}, {"version": 0}), State({}, {"version": 4}))
