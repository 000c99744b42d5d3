"""Placement of a run's actors: anywhere in the cluster, or in a placement group of the run's
own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hmdc_ray.actors.nodes import cluster_nodes
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.exchange.resources import Resources, workers_of

LEAST_SHARE = 0.01
"""Logical CPUs of an actor that must start even where no CPU is free."""


def cpu_share(nodes: Sequence[float], config: RunConfig, trials: int = 0) -> float:
    """Logical CPUs of a member whose ``num_cpus`` is ``auto``: the largest equal part of the nodes'
    CPUs with which every member fits.

    At most 1, in Ray's steps of 0.0001. It only decides where actors are placed; threads are set
    separately.

    Args:
        nodes: logical CPUs of every node.
        config: the run.
        trials: number of such runs that must fit at a time, each with a driver that takes a share
            too; 0: one run alone, whose driver takes nothing.
    """
    members = workers_of(config)
    given = [member.num_cpus for member in members if member.num_cpus != AUTO]
    unset = len(members) - len(given)
    runs, wanted = max(1, trials), unset + 1 if trials else unset
    wanted *= runs
    if not wanted:
        return 1.0
    free = sorted(nodes, reverse=True)
    free[0] -= runs * (_server_cpus(config) + sum(given))
    parts = sorted({cpus / count for cpus in free for count in range(1, wanted + 1) if cpus > 0}, reverse=True)
    fitting = (part for part in parts if sum(int(cpus / part + 1e-9) for cpus in free if cpus > 0) >= wanted)
    return int(min(1.0, next(fitting, LEAST_SHARE)) * 10_000) / 10_000


def bundles(resources: Resources, share: float) -> list[dict[str, float]]:
    """Resources of a run's parts in a placement group of its own.

    The first bundle is for the driver, which judges the images in its own process, and for the
    parameter server, because both use the run's folder. The others are for the members' actors, in
    order.

    Args:
        resources: the run and its GPUs.
        share: logical CPUs of the driver and of each member whose own are ``auto``, see
            :func:`cpu_share`.
    """
    driver = {"CPU": round(share + _server_cpus(resources.config), 4), "GPU": resources.driver_gpus}
    members = [
        {"CPU": share if member.num_cpus == AUTO else member.num_cpus, "GPU": gpus, **member.resources}
        for member, gpus in zip(workers_of(resources.config), resources.gpus, strict=True)
    ]
    return [{name: amount for name, amount in bundle.items() if amount > 0} for bundle in (driver, *members)]


def bundle_options(config: RunConfig) -> dict[str, Any]:
    """Further arguments of the placement group of :func:`bundles`: node labels, if any member asks
    for some."""
    labels = [{}, *(member.labels for member in workers_of(config))]
    return {"bundle_label_selector": labels} if any(labels) else {}


class Placement(Protocol):
    """Options for starting actors. Slots count the workers, with the replicas of a member one after
    the other."""

    def worker(self, slot: int, *, again: bool) -> dict[str, Any]:
        """Options of a worker; ``again``: it replaces a lost one, and fewer nodes may be left."""
        ...

    def server(self) -> dict[str, Any]:
        """Options of a process of the parameter server."""
        ...


class Placed:
    """Ray places the actors, over many nodes or few.

    Args:
        resources: the run and its GPUs.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._share = cpu_share([node.cpus for node in cluster_nodes()], resources.config)

    def worker(self, slot: int, *, again: bool) -> dict[str, Any]:
        """See :class:`Placement`. A replaced member whose CPUs are ``auto`` takes
        :data:`LEAST_SHARE`."""
        member = workers_of(self._resources.config)[slot]
        share = LEAST_SHARE if again else self._share
        options: dict[str, Any] = {
            "num_cpus": share if member.num_cpus == AUTO else member.num_cpus,
            "num_gpus": self._resources.gpus[slot],
            "resources": member.resources or None,
        }
        if self._resources.config.cluster.placement == "spread":
            options["scheduling_strategy"] = "SPREAD"
        if member.labels:
            options["label_selector"] = member.labels
        return options

    def server(self) -> dict[str, Any]:
        """See :class:`Placement`."""
        return {"num_cpus": self._resources.config.cluster.server_cpus}


class Grouped:
    """The actors go into the bundles that :func:`bundles` gave.

    Args:
        config: the run.
        group: placement group of the run.
    """

    def __init__(self, config: RunConfig, group: PlacementGroup) -> None:
        assert len(group.bundle_specs) == len(workers_of(config)) + 1, group.bundle_specs
        self._config = config
        self._group = group

    def worker(self, slot: int, *, again: bool) -> dict[str, Any]:
        """See :class:`Placement`."""
        member, specification = workers_of(self._config)[slot], self._group.bundle_specs[slot + 1]
        return {
            "num_cpus": specification.get("CPU", 0),
            "num_gpus": specification.get("GPU", 0),
            "resources": {name: amount for name, amount in member.resources.items() if amount > 0} or None,
            "scheduling_strategy": self._into(slot + 1),
        }

    def server(self) -> dict[str, Any]:
        """See :class:`Placement`.

        The driver has claimed the whole first bundle, including the server's part, so the server
        claims nothing.
        """
        return {"num_cpus": 0, "scheduling_strategy": self._into(0)}

    def _into(self, bundle: int) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=bundle)


def _server_cpus(config: RunConfig) -> float:
    """Logical CPUs of all processes of the parameter server."""
    return config.server_shards * config.cluster.server_cpus
