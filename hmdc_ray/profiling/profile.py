"""A short measured profile of a configuration's pool, from which larger ones are predicted."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from statistics import median

from hmdc_ray.actors.object_store import bytes_per_second
from hmdc_ray.actors.session import ray_session
from hmdc_ray.config import RunConfig
from hmdc_ray.profiling.capacity import Cluster, MemberProfile, Profile, predict
from hmdc_ray.profiling.measure import Bench, measure
from hmdc_ray.profiling.steps import Report, with_length, worker_process
from hmdc_ray.profiling.traffic import SERVER

UNDIVIDED = ("training_data", "training", "aligner_training", "kmeans")
"""Phases that every replica of a member does, or one alone; all others are divided."""

SHARED_CALLS = ("match", "pull_back")
"""Calls whose messages go to one replica each; those of all others go to every one."""

GPUS = 2**20
"""GPUs of a node that holds every member, as the measured one does."""


def profile(config: RunConfig, steps: int, report: Report) -> Profile:
    """Measure a step with all members of the pool drawn; see
    :func:`hmdc_ray.profiling.measure.measure`.

    Seconds are those of the members one after the other in this process, where no two compete for a
    core; a step as actors shows what calls take beside them.

    Args:
        config: the run; its schedule's length is not used.
        steps: number of measured steps.
        report: callback that gets lines on the progress.
    """
    members = tuple(member.model_copy(update={"replicas": 1, "probability": None}) for member in config.pool.members)
    pool = config.pool.model_copy(update={"members": members, "active": None, "warmup": 0})
    with ray_session():
        bench = measure(with_length(config.model_copy(update={"pool": pool}), steps), steps, report)
        rate = bytes_per_second()
    explained = Profile(
        members=tuple(_member(bench, index) for index in range(len(pool.members))),
        server_seconds=median(step.busy(SERVER) for step in bench.one_process.steps),
        server_received_bytes=sum(count for (process, _), count in bench.traffic.items() if process == SERVER),
        server_peak_bytes=bench.actors.processes[SERVER].peak_bytes,
        bytes_per_second=rate,
        calls_seconds=0.0,
        classes=len(bench.info.class_names),
        threads=bench.config.threads,
    )
    here = Cluster(gpus_per_node=GPUS, cores_per_node=os.cpu_count() or 1, network_bytes_per_second=math.inf)
    unexplained = bench.actors.seconds - predict(explained, len(members), 1, here).seconds_per_step
    return replace(explained, calls_seconds=max(0.0, unexplained))


def _member(bench: Bench, index: int) -> MemberProfile:
    member = bench.config.pool.members[index]
    process = worker_process(member.name)
    phases = [step.phases[process] for step in bench.one_process.steps]
    training = [sum(seconds for phase, seconds in step.items() if phase in UNDIVIDED) for step in phases]
    received = {call: count for (receiver, call), count in bench.traffic.items() if receiver == process}
    shared = sum(count for call, count in received.items() if call in SHARED_CALLS)
    return MemberProfile(
        name=member.name,
        num_gpus=bench.gpus[index],
        matching=median(sum(step.values()) - trained for step, trained in zip(phases, training, strict=True)),
        training=median(training),
        peak_bytes=bench.actors.processes[process].peak_bytes,
        shared_bytes=shared,
        each_bytes=sum(received.values()) - shared,
    )
