"""The rate of Ray's object store."""

from __future__ import annotations

from hmdc_ray.actors.object_store import bytes_per_second


def test_bytes_are_moved_faster_than_over_a_network(ray_local: None) -> None:
    assert bytes_per_second() > 1e7
