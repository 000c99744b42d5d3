"""The actors of a run, started for a block and stopped at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.util.placement_group import PlacementGroup

from hmdc_ray.actors.placement import Grouped, Placed
from hmdc_ray.actors.pool import RayPool
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.exchange.resources import Resources


@contextmanager
def launch(
    resources: Resources, info: DatasetInfo, folder: Path, check: Callable[[], None], group: PlacementGroup | None = None
) -> Iterator[RayPool]:
    """Start the actors of a run and stop them at the end.

    Args:
        resources: the run and the GPUs of its workers, from
            :func:`hmdc_ray.actors.nodes.find_resources`.
        info: description of its data.
        folder: the run's folder, where the server saves checkpoints.
        check: called while waiting; may raise to stop.
        group: placement group for the run, of :func:`hmdc_ray.actors.placement.bundles`; None: Ray
            places the actors.

    Raises:
        InputError: the cluster lacks what the actors need, or a member cannot be built.
    """
    placement = Placed(resources) if group is None else Grouped(resources.config, group)
    pool = RayPool(resources, info, folder, check, placement)
    try:
        pool.start()
        yield pool
    finally:
        pool.close()
