"""A member as a process hosts it."""

from __future__ import annotations

import os

import numpy as np
from parity.runs import members, parity_run, step_plan

from hmdc_ray.actors.worker import PoolWorker
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.exchange.messages import Selection


def test_a_renewed_member_keeps_the_real_images_and_nothing_else(
    three_digits: ImageDataset, three_digits_config: DataConfig
) -> None:
    worker = PoolWorker(0, parity_run(three_digits_config, members("shallow", "mlp")))
    described = worker.build()
    assert (described.name, described.pid, described.data) == ("shallow", os.getpid(), three_digits.info.fingerprint)
    begun, matcher = worker.begin(0), worker.matcher
    assert begun == described.taps
    rows = tuple(np.array([label]) for label in range(3))
    worker.member.select(step_plan(), Selection(0, rows))
    assert worker.renew(0) == begun and worker.matcher is not matcher
    assert worker.member.selection is rows
    worker.begin(0)
    assert worker.member.selection is None
