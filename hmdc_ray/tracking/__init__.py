"""Tracking of runs in MLflow; the only package that imports mlflow.

What a run tells is recorded in its folder (:mod:`hmdc_ray.tracking.records`), and a thread brings
MLflow to the state of these files (:mod:`hmdc_ray.tracking.sender`): a slow or lost server delays
records, never the run. What a run could not send is sent by
:func:`hmdc_ray.tracking.sender.sync_tracking`, in the same way.
"""

from hmdc_ray.tracking.recorder import Recorder
from hmdc_ray.tracking.records import FOLDER, count_unsent
from hmdc_ray.tracking.sender import Sender, Synced, sync_tracking
from hmdc_ray.tracking.store import Address, check_store, connect

__all__ = ["FOLDER", "Address", "Recorder", "Sender", "Synced", "check_store", "connect", "count_unsent", "sync_tracking"]
