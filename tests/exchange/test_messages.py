"""Results of the server's shards are joined in the order of their classes, if they are of one image version."""

from __future__ import annotations

import numpy as np
import pytest

from hmdc_ray.exchange.messages import Snapshot, State, check_version, join

WHOLE_KICHW = np.arange(24.0).reshape(3, 2, 1, 2, 2)


def test_joined_parts_are_the_whole() -> None:
    snapshot = join([Snapshot(5, WHOLE_KICHW[:1]), Snapshot(5, WHOLE_KICHW[1:])])
    assert snapshot.version == 5 and np.array_equal(snapshot.images_KICHW, WHOLE_KICHW)
    state = join([State({"images": part}, {"version": 5}) for part in (WHOLE_KICHW[:2], WHOLE_KICHW[2:])])
    assert state.values == {"version": 5} and np.array_equal(state.arrays["images"], WHOLE_KICHW)
    assert join([(0, 1), (), (4,)]) == (0, 1, 4) and join([None, None]) is None
    with pytest.raises(TypeError, match="cannot join float"):
        join([1.0, 2.0])


def test_parts_of_different_versions_are_not_joined() -> None:
    with pytest.raises(RuntimeError, match="a part of the images belongs to image version 4, but the images are at version 5"):
        join([Snapshot(5, WHOLE_KICHW), Snapshot(4, WHOLE_KICHW)])
    with pytest.raises(RuntimeError, match="a part of a state belongs to image version 4"):
        join([State({}, {"version": 5}), State({}, {"version": 4})])
    check_version("a message", 5, 5)
