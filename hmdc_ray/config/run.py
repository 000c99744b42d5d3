"""A complete run."""

from __future__ import annotations

import math
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from hmdc_ray.config.base import AUTO, Auto, Section
from hmdc_ray.config.condensation import BalanceConfig, ImagesConfig, MatchingConfig, ScheduleConfig
from hmdc_ray.config.data import DataConfig
from hmdc_ray.config.evaluation import EvaluationConfig
from hmdc_ray.config.pool import PoolConfig

MEMBERS_PER_SHARD = 32
"""How many members drawn one process of the parameter server serves, where nothing else is said.
The sums over 64 simulated members took one process about a twentieth of a step."""


class TrackingConfig(Section):
    """What is sent to MLflow."""

    enabled: bool = Field(True, description="Log the run to MLflow.")
    uri: str | None = Field(None, description="MLflow tracking address; null: MLFLOW_TRACKING_URI, or SQLite beside the runs.")

    @field_validator("uri")
    @classmethod
    def _holds_no_password(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password:
            raise ValueError("uri holds a password, which would be written beside the results: use MLFLOW_TRACKING_PASSWORD")
        return value

    experiment: str = Field("hmdc-ray", min_length=1, description="MLflow experiment name.")


class ClusterConfig(Section):
    """Resources and deadlines of the Ray actors."""

    threads: Annotated[int, Field(ge=1, le=256)] | Auto = Field(
        AUTO,
        description="Torch threads of every actor, 1 to 256; part of the run's identity, and kept when it is resumed; auto: the"
        " cores of a node over the workers that compute there at the same time.",
    )
    server_cpus: float = Field(0.1, ge=0, description="Logical CPUs of each process of the parameter server, 0 or more.")
    server_shards: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Processes that share the parameter server's classes, 1 to 256; null: one for every"
        f" {MEMBERS_PER_SHARD} members drawn.",
    )
    memory_per_worker: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="GB (10^9 bytes) of memory that a worker may take, of its GPU's if it has one, more than 0; decides with"
        " one measured class on matching.classes_per_call, where that is null. null: half of what is free on its node when the"
        " run starts, divided equally among the workers there and the server, and again by the trials of a search that run at a"
        " time; on a GPU 0.8 of what is free, times num_gpus."
        " Does not change results.",
    )
    start_timeout: float = Field(120, gt=0, description="Seconds to wait until every actor has its resources and is ready.")
    call_timeout: float = Field(
        3600, gt=0, description="Seconds that one call to an actor may take; an actor that takes longer counts as lost."
    )
    cut_every: int = Field(
        10,
        ge=1,
        description="Steps between two cuts, at least 1; there is one at every iteration's start too. The last one is where the"
        " pool goes on when a process is lost.",
    )
    recovery_timeout: float = Field(
        120, gt=0, description="Seconds after a fault in which an actor must answer, or is replaced."
    )
    recovery_attempts: int = Field(
        5, ge=0, description="Faults without a new step in between that a run survives; 0: the first fault ends it."
    )
    when_lost: Literal["stop", "wait", "continue"] = Field(
        "stop",
        description="What to do when a lost member cannot be started again within start_timeout: stop with the last checkpoint"
        " intact, wait for resources, or continue without the member.",
    )
    placement: Literal["pack", "spread"] = Field(
        "pack", description="Where actors go: on as few nodes as they fit (pack), or over all nodes (spread)."
    )


class RunConfig(Section):
    """A complete run. Written to ``config.yaml`` in the run's folder, from which it can be
    repeated."""

    name: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
        description="Name of the run, and of its folder under runs/: letters, digits, '_', '-', and '.' after the first.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed from which every random draw is derived, 0 to 2**63 - 1.")
    data: DataConfig = DataConfig()
    pool: PoolConfig = PoolConfig()
    matching: MatchingConfig = MatchingConfig()
    balance: BalanceConfig = BalanceConfig()
    images: ImagesConfig = ImagesConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    cluster: ClusterConfig = ClusterConfig()

    @property
    def threads(self) -> int:
        """Number of torch threads of every actor, once it is resolved."""
        assert self.cluster.threads != AUTO, "cluster.threads is not resolved, see hmdc_ray.actors.resources"
        return self.cluster.threads

    @property
    def server_shards(self) -> int:
        """Processes of the parameter server, of which no more are started than there are
        classes."""
        return self.cluster.server_shards or math.ceil(self.pool.drawn / MEMBERS_PER_SHARD)
