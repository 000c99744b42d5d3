"""Two tiny networks measured as actors and in one process: the numbers against each other."""

from __future__ import annotations

import pytest
from measured import Measured

from hmdc_ray.profiling.steps import WARM_UP


def test_every_wanted_step_is_run_and_the_warm_up_left_out(measured: Measured) -> None:
    assert len([line for line in measured.lines if line.startswith("actors: step")]) == WARM_UP + 1
    assert len([line for line in measured.lines if line.startswith("one process: step")]) == WARM_UP + 1
    assert len(measured.bench.actors.steps) == len(measured.bench.one_process.steps) == 1


def test_phases_add_up_to_no_more_than_the_step(measured: Measured) -> None:
    (actors,), (alone,) = measured.bench.actors.steps, measured.bench.one_process.steps
    for worker in measured.bench.workers:
        assert 0 < actors.busy(worker) <= actors.seconds
    assert 0 < sum(alone.busy(process) for process in alone.phases) <= alone.seconds
    assert 0 <= actors.outside(measured.bench.workers) < 1


def test_gradients_agree_with_those_of_torchs_own_layers(measured: Measured) -> None:
    assert set(measured.against.agreement) == {*measured.bench.workers, "distillation"}
    for agreement in measured.against.agreement.values():
        assert 0 < agreement.error < 1e-4, "0: nothing else was computed"
        assert agreement.cosine == pytest.approx(1, abs=1e-6)
    for agreement in measured.against.bfloat16_agreement.values():
        assert agreement.error > 1e-4, "nothing was rounded"
        assert agreement.cosine > 0.9
    assert len(measured.against.bfloat16.seconds) == 1 < len(measured.against.bfloat16.rates) == WARM_UP + 1


def test_the_floor_is_below_the_step(measured: Measured) -> None:
    floor, (step,) = measured.against.floor, measured.bench.one_process.steps
    assert len(floor.rates) == WARM_UP + 3
    assert floor.multiples([step.seconds]) == [step.seconds * ((floor.rates[1] + floor.rates[2]) / 2) / floor.operations]
    assert floor.multiples([step.seconds])[0] > 1 < floor.plain_multiple
    assert floor.seconds < floor.roofline < floor.plain_seconds


def test_kmeans_is_measured_for_each_member(measured: Measured) -> None:
    assert set(measured.against.kmeans) == set(measured.bench.workers)
    assert all(0 < seconds < 60 for seconds in measured.against.kmeans.values())


def test_every_process_of_the_actors_is_seen_from_inside(measured: Measured) -> None:
    processes = measured.bench.actors.processes
    assert set(processes) == {"driver", "worker a", "worker a_b", "server"}
    assert all(use.peak_bytes > 100e6 for use in processes.values())  # each has imported torch
    for worker in measured.bench.workers:
        use = processes[worker]
        assert 0 < use.data_share_bytes <= use.data_resident_bytes / 2  # both have the file mapped
    assert processes["server"].data_resident_bytes == 0
