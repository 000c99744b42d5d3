"""What trials need of a cluster, checked before a search starts: a placement group that never fits
would wait forever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from hmdc_ray.actors.nodes import cluster_nodes, resources_by_trials
from hmdc_ray.actors.placement import bundle_options, bundles, cpu_share
from hmdc_ray.actors.session import POLL_SECONDS
from hmdc_ray.config import RunConfig
from hmdc_ray.config.base import AUTO
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.resources import Resources, acting, workers_of

Bundle = Mapping[str, float]

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Concurrency:
    """Trials that run at a time.

    Attributes:
        count: number of trials.
        share: logical CPUs of each part of a trial that asks for none, see
            :func:`hmdc_ray.actors.placement.bundles`.
        resources: GPUs and threads of each trial.
    """

    count: int
    share: float
    resources: Resources

    def describe(self) -> str:
        """How many trials run at a time, and what each has, for people."""
        return f"{self.count} trial{'' if self.count == 1 else 's'} at a time, each with {self.resources.line}"


def plan_concurrency(config: RunConfig, trials: int, concurrent: int | None) -> Concurrency:
    """How many trials run at a time, and what each has.

    Args:
        config: base configuration of the search, whose pool determines what a trial needs.
        trials: number of trials of the search.
        concurrent: number asked for; None: as many as fit and have a CPU for every thread of the
            members that are drawn.

    Raises:
        InputError: so many trials, or a single one, need more than the cluster has; says what is
            missing.
    """
    nodes = cluster_nodes()
    offered, resources = [node.resources for node in nodes], resources_by_trials(config)

    def of(count: int) -> Concurrency:
        return Concurrency(count, cpu_share([node.cpus for node in nodes], config, count), resources(count))

    def needed(found: Concurrency) -> list[dict[str, float]]:
        return bundles(found.resources, found.share)

    require_room(config, needed(of(1)), 1, offered)
    if concurrent is not None:
        found = of(min(concurrent, trials))
        require_room(config, needed(found), found.count, offered)
        return found
    threads = acting(config) * (1 if config.cluster.threads == AUTO else config.cluster.threads)
    most = max(1, min(trials, int(sum(node.cpus for node in nodes) / threads)))
    gpus = sum(int(node.gpus) for node in nodes)
    if gpus and any(member.num_gpus == AUTO for member in config.pool.members):
        most = min(most, max(1, gpus // len(workers_of(config))))  # each member with a GPU of its own
    return next(found for found in map(of, range(most, 0, -1)) if fits(needed(found), found.count, offered))


def fits(needed: Sequence[Bundle], copies: int, nodes: Sequence[Bundle]) -> bool:
    """Whether ``copies`` of the bundles fit onto the nodes, the largest bundles placed first."""
    free = [dict(node) for node in nodes]
    for bundle in sorted([*needed] * copies, key=lambda bundle: (bundle.get("GPU", 0), bundle.get("CPU", 0)), reverse=True):
        node = next((node for node in free if all(node.get(name, 0) + TOLERANCE >= bundle[name] for name in bundle)), None)
        if node is None:
            return False
        for name, amount in bundle.items():
            node[name] -= amount
    return True


def require_room(config: RunConfig, needed: Sequence[Bundle], copies: int, nodes: Sequence[Bundle]) -> None:
    """Refuse trials that the nodes' totals cannot hold.

    Args:
        config: configuration of the trials, for the names of the bundles.
        needed: bundles of one trial, see :func:`hmdc_ray.actors.placement.bundles`.
        copies: number of trials at a time.
        nodes: resources of each node.

    Raises:
        InputError: says which part needs what, and what there is.
    """
    if fits(needed, copies, nodes):
        return
    names = ["the trial's driver (with cluster.server_cpus of each process of the server and evaluation.num_gpus)"]
    names += [f"pool member {member.name!r}" for member in config.pool.members for _ in range(member.replicas)]
    for name, bundle in zip(names, needed, strict=True):
        if not fits([bundle], 1, nodes):
            what, amount = next((what, amount) for what, amount in bundle.items() if amount > _largest(nodes, what) + TOLERANCE)
            raise InputError(
                f"{name} needs {amount:g} {what}, but no node of the cluster has more than {_largest(nodes, what):g}"
            )
    trials = f"{copies} trials at a time need" if copies > 1 else "a trial needs"
    advice = "use a smaller --concurrent" if copies > 1 else "use a larger cluster, or fewer or smaller members"
    for what in sorted({what for bundle in needed for what in bundle}):
        wanted = copies * sum(bundle.get(what, 0.0) for bundle in needed)
        there = sum(node.get(what, 0.0) for node in nodes)
        if wanted > there + TOLERANCE:
            raise InputError(f"{trials} {wanted:g} {what}, but the cluster has {there:g}, {wanted - there:g} too few: {advice}")
    raise InputError(f"{trials} bundles that do not fit onto the cluster's nodes side by side ({_shown(needed)}): {advice}")


def wait_for_room(planned: Concurrency, check: Callable[[], None]) -> None:
    """Wait until a trial's bundles are free, which they may not be on a cluster that others use
    too.

    Args:
        planned: what a trial has.
        check: called several times a second; may raise to stop waiting.

    Raises:
        InputError: the bundles are not free within ``cluster.start_timeout``; says what is.
    """
    config = planned.resources.config
    needed, timeout, options = bundles(planned.resources, planned.share), config.cluster.start_timeout, bundle_options(config)
    group = placement_group(needed, **options)
    deadline = monotonic() + timeout
    try:
        while not group.wait(POLL_SECONDS):
            check()
            if monotonic() > deadline:
                free = ray.available_resources()
                names = sorted({name for bundle in needed for name in bundle})
                has = ", ".join(f"{free.get(name, 0):g} {name}" for name in names)
                labelled = f" on nodes with the labels {options['bundle_label_selector']}" if options else ""
                raise InputError(
                    f"the resources of a trial ({_shown(needed)}){labelled} did not become free within cluster.start_timeout "
                    f"{timeout:g} s, free: {has}: others use the cluster, wait for them or raise cluster.start_timeout"
                )
    finally:
        remove_placement_group(group)


def _largest(nodes: Sequence[Bundle], what: str) -> float:
    return max((node.get(what, 0.0) for node in nodes), default=0.0)


def _shown(needed: Sequence[Bundle]) -> str:
    return " + ".join(", ".join(f"{amount:g} {name}" for name, amount in bundle.items()) for bundle in needed)
