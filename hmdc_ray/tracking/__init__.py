"""Tracking of runs in MLflow; the only package that imports mlflow.

Every record of a run is first kept in the run's folder (:mod:`hmdc_ray.tracking.journal`) and then sent by a thread
(:mod:`hmdc_ray.tracking.tracker`): a slow or lost server delays records, never the run. What a run could not send is sent
by :func:`hmdc_ray.tracking.sync.sync_tracking`.
"""

from hmdc_ray.tracking.deferred import DeferredTracking
from hmdc_ray.tracking.protocol import NoTracker, Status, Tracking
from hmdc_ray.tracking.store import Address, check_store
from hmdc_ray.tracking.sync import Synced, sync_tracking
from hmdc_ray.tracking.tracker import FINISH_SECONDS, FOLDER, Tracker

__all__ = [
    "FINISH_SECONDS",
    "FOLDER",
    "Address",
    "DeferredTracking",
    "NoTracker",
    "Status",
    "Synced",
    "Tracker",
    "Tracking",
    "check_store",
    "sync_tracking",
]
