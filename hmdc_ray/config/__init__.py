"""The configuration of a run: typed, frozen, complete. Unknown keys are errors (see
:mod:`hmdc_ray.config.io`)."""

from hmdc_ray.config.base import NetworkSection, Options, Section, default_name
from hmdc_ray.config.condensation import BalanceConfig, Family, ImagesConfig, MatchingConfig, Precision, ScheduleConfig
from hmdc_ray.config.data import DataConfig
from hmdc_ray.config.evaluation import DistillationConfig, EvaluationConfig, StudentConfig
from hmdc_ray.config.pool import RESERVED_NAMES, MemberConfig, PoolConfig
from hmdc_ray.config.run import ClusterConfig, RunConfig, TrackingConfig

__all__ = [
    "RESERVED_NAMES",
    "BalanceConfig",
    "ClusterConfig",
    "DataConfig",
    "DistillationConfig",
    "EvaluationConfig",
    "Family",
    "ImagesConfig",
    "MatchingConfig",
    "MemberConfig",
    "NetworkSection",
    "Options",
    "PoolConfig",
    "Precision",
    "RunConfig",
    "ScheduleConfig",
    "Section",
    "StudentConfig",
    "TrackingConfig",
    "default_name",
]
