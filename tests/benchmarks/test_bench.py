"""The bench on two tiny networks: its numbers against counts by hand, and against each other."""

from __future__ import annotations

import gzip
import json
import math
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from parity.runs import gradients_message
from rich.console import Console
from whole_runs import tiniest

from benchmarks.bench.__main__ import main
from benchmarks.bench.configuration import STAND_IN, bench_config
from benchmarks.bench.report import print_against_plain, print_bench, print_startup, print_tracking
from benchmarks.bench.startup import Startup
from benchmarks.bench.trace import check_trace, write_trace
from benchmarks.bench.tracking import TrackingCost, measure_tracking
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.messages import Features
from hmdc_ray.profiling.measure import AgainstPlain, Bench, measure, measure_against_plain
from hmdc_ray.profiling.process import process_use
from hmdc_ray.profiling.steps import WARM_UP, StepTimes
from hmdc_ray.profiling.traffic import Traffic, array_bytes

MEMBERS = ", ".join(
    f"{{name: {name}, architecture: convnet, options: {{width: 4, depth: {depth}}}}}" for name, depth in (("a", 1), ("a_b", 2))
)
TINY = [
    f"pool.members=[{MEMBERS}]",
    "matching.real_batch=5",
    "matching.classes_per_call=2",
    "images.ipc=1",
    "schedule.real_images=8",
    "matching.aligner_images=8",
    "schedule.batch=4",
]


@dataclass(frozen=True)
class Finished:
    bench: Bench
    against: AgainstPlain
    lines: list[str]
    printed: str


@pytest.fixture(scope="module")
def finished(ray_local: None, three_digits_config: DataConfig) -> Finished:
    """Three classes of 8x8 grey images, one measured step."""
    assignments = [*TINY, f"data.cache={three_digits_config.cache}"]
    lines: list[str] = []
    bench = measure(bench_config(three_digits_config.source, 1, assignments), 1, lines.append)
    against = measure_against_plain(bench, lines.append)
    printed = StringIO()
    console = Console(file=printed, width=140)
    print_bench(bench, console)
    print_against_plain(against, bench, console)
    return Finished(bench, against, lines, printed.getvalue())


def test_every_wanted_step_is_run_and_the_warm_up_left_out(finished: Finished) -> None:
    assert len([line for line in finished.lines if line.startswith("actors: step")]) == WARM_UP + 1
    assert len([line for line in finished.lines if line.startswith("one process: step")]) == WARM_UP + 1
    assert len(finished.bench.actors.steps) == len(finished.bench.one_process.steps) == 1


def test_phases_add_up_to_no_more_than_the_step(finished: Finished) -> None:
    (actors,), (alone,) = finished.bench.actors.steps, finished.bench.one_process.steps
    for worker in finished.bench.workers:
        assert 0 < actors.busy(worker) <= actors.seconds
    assert 0 < sum(alone.busy(process) for process in alone.phases) <= alone.seconds
    assert 0 <= actors.outside(finished.bench.workers) < 1


def test_each_worker_has_all_phases_of_a_step_with_distillation(finished: Finished) -> None:
    expected = {"data", "forward", "real_gradients", "synthetic_gradients", "second_derivative", "distillation_real"}
    expected |= {"distillation_synthetic", "pull_back", "training", "training_data", "aligner_training"}
    for half in (finished.bench.actors, finished.bench.one_process):
        assert [set(half.steps[0].phases[worker]) for worker in ("worker a", "worker a_b")] == [expected, expected]
    assert {"consensus", "share", "balance_gradients", "apply"} <= set(finished.bench.one_process.steps[0].phases["server"])


def test_gradients_agree_with_those_of_torchs_own_layers(finished: Finished) -> None:
    assert set(finished.against.agreement) == {*finished.bench.workers, "distillation"}
    for agreement in finished.against.agreement.values():
        assert 0 < agreement.error < 1e-4, "0: nothing else was computed"
        assert agreement.cosine == pytest.approx(1, abs=1e-6)
    for agreement in finished.against.bfloat16_agreement.values():
        assert agreement.error > 1e-4, "nothing was rounded"
        assert agreement.cosine > 0.9
    assert len(finished.against.bfloat16.seconds) == 1 < len(finished.against.bfloat16.rates) == WARM_UP + 1


def test_the_floor_is_below_the_step(finished: Finished) -> None:
    floor, (step,) = finished.against.floor, finished.bench.one_process.steps
    assert len(floor.rates) == WARM_UP + 3
    assert floor.multiples([step.seconds]) == [step.seconds * ((floor.rates[1] + floor.rates[2]) / 2) / floor.operations]
    assert floor.multiples([step.seconds])[0] > 1 < floor.plain_multiple
    assert floor.seconds < floor.roofline < floor.plain_seconds


def test_kmeans_is_measured_for_each_member(finished: Finished) -> None:
    assert set(finished.against.kmeans) == set(finished.bench.workers)
    assert all(0 < seconds < 60 for seconds in finished.against.kmeans.values())


def test_bytes_are_those_counted_by_hand(finished: Finished) -> None:
    classes, members, real, synthetic, pixels, single = 3, 2, 5, 4, 8 * 8, 4
    features = (1 + 2 * 2) * 4 * single  # of one image: tokens of the deeper network's last map, channels
    images = classes * 1 * pixels * single
    pairs, cotangents = classes * (real + synthetic) * features, classes * synthetic * features
    training = 2 * 4 * features  # two batches of four images
    alignment = training + 4 * features  # the first one again
    expected = {("server", "consensus"): members * (pairs + training + alignment)}
    expected["server", "share"] = members * cotangents
    expected["server", "balance_gradients"] = members * (2 * images + classes * 3 * 8)  # both targets, and three sizes of one
    for worker in finished.bench.workers:
        expected[worker, "match"] = pairs
        expected[worker, "pull_back"] = cotangents
        expected[worker, "training_features"] = images  # the next step's matching has them already
        expected[worker, "training_step"], expected[worker, "aligner_step"] = training, alignment
    targets = members + 1
    expected["driver", "get"] = classes * targets * (4 * np.dtype(np.float64).itemsize + np.dtype(np.bool_).itemsize)
    assert finished.bench.traffic == expected


def test_every_process_of_the_actors_is_seen_from_inside(finished: Finished) -> None:
    processes = finished.bench.actors.processes
    assert set(processes) == {"driver", "worker a", "worker a_b", "server"}
    assert all(use.peak_bytes > 100e6 for use in processes.values())  # each has imported torch
    for worker in finished.bench.workers:
        use = processes[worker]
        assert 0 < use.data_share_bytes <= use.data_resident_bytes / 2  # both have the file mapped
    assert processes["server"].data_resident_bytes == 0


def test_ratio_and_shares_are_printed(finished: Finished) -> None:
    bench = finished.bench
    assert bench.ratio == bench.one_process.seconds / bench.actors.seconds
    rows = [" ".join(line.split()) for line in finished.printed.splitlines()]
    assert f"ratio: actors are so many times as fast {bench.ratio:.2f}" in rows
    outside = bench.actors.steps[0].outside(bench.workers)
    assert f"share of an actor step outside the busiest worker's computation {outside:.1%}" in rows
    assert any(row.startswith("apply (image step)") for row in rows)
    assert f"all calls {' '.join(_megabytes(bench))}" in rows


def _megabytes(bench: Bench) -> list[str]:
    processes = [*bench.workers, "server", "driver"]
    sums = [sum(count for (name, _), count in bench.traffic.items() if name == process) for process in processes]
    return [f"{count / 1e6:,.3f}" for count in (*sums, sum(sums))]


def test_a_message_counts_once_for_each_receiver_and_not_for_its_maker() -> None:
    traffic, message = Traffic(), Features(0, (np.zeros(3), np.zeros((2, 2), np.float32)))
    traffic.made("server", (message, 1))
    for process in ("worker a", "worker a", "worker b", "server"):
        traffic.received(process, "match", (7, message, None))
    assert traffic.take() == {("worker a", "match"): 40, ("worker b", "match"): 40}
    assert traffic.take() == {}


def test_a_new_message_counts_although_it_may_have_the_place_of_an_old_one() -> None:
    traffic = Traffic()
    for _ in range(50):
        traffic.received("server", "consensus", (Features(0, (np.zeros(1),)),))
    assert traffic.take() == {("server", "consensus"): 50 * 8}


def test_bytes_are_those_of_arrays_only() -> None:
    assert array_bytes(gradients_message((0, 1), np.zeros((2, 1, 1, 2, 2)))) == 64 + 3 * 2 * 8
    assert array_bytes({"a": [np.zeros(2, np.uint8)], "b": "text"}) == 2


def test_waiting_is_what_the_busiest_worker_leaves() -> None:
    step = StepTimes(4.0, {"x": {"forward": 1.0, "training": 2.0}, "y": {"forward": 1.0}, "server": {"apply": 3.9}}, {})
    assert step.busy("x") == 3.0
    assert math.isclose(step.outside(["x", "y"]), 0.25)


def test_a_process_holds_no_data_outside_the_folder(tmp_path: Path) -> None:
    before, after = process_use(None, tmp_path), process_use(None, tmp_path)
    assert before.data_resident_bytes == 0
    # Not that the peak never falls: the kernel adds up the pages of several processors' counters only now and then.
    assert min(before.peak_bytes, after.peak_bytes) > 100e6  # this process has imported torch
    assert after.cpu_seconds >= before.cpu_seconds > 0


def test_the_configuration_is_hmdcs_step_and_keeps_its_length(tmp_path: Path) -> None:
    config = bench_config("digits", 5, ["matching.classes_per_call=5", "schedule.steps=1"])
    assert [member.options for member in config.pool.members] == [{"width": 128, "depth": 3}, {"width": 128, "depth": 4}]
    assert (config.images.ipc, config.images.formation, config.matching.real_batch) == (10, 2, 128)
    assert (config.schedule.iterations, config.schedule.steps) == (1, WARM_UP + 5 + 1)
    assert config.matching.classes_per_call == 5
    with pytest.raises(InputError, match=r"images\.ipc is -1"):
        bench_config("digits", 1, ["images.ipc=-1"])


def test_iterations_are_tracked_in_turn_and_a_slow_server_gets_everything(
    ray_local: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    lines: list[str] = []
    cost = measure_tracking(tiniest(tmp_path), 2, lines.append, delay=0.02)
    assert (cost.steps, len(cost.tracked), len(cost.untracked)) == (3, 2, 2)
    assert min(cost.tracked + cost.untracked) > 0
    assert not [record for record in caplog.records if "tracking" in record.name]  # the tracker warns of what it cannot send
    printed = StringIO()
    print_tracking(cost, Console(file=printed, width=140))
    assert "answers after 0.02 s" in printed.getvalue() and f"{cost.slowdown:.1%}" in printed.getvalue()


def test_the_slowdown_is_that_of_neighbouring_pairs() -> None:
    cost = TrackingCost(1.0, 1, tracked=(1.1, 30.0, 2.0), untracked=(1.0, 10.0, 2.0))
    assert math.isclose(cost.slowdown, 0.1)


def test_without_data_the_built_in_digits_are_taken_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configs: list[RunConfig] = []

    def stopped(config: RunConfig, steps: int, report: object) -> None:
        configs.append(config)
        raise InputError("stopped here")

    monkeypatch.setattr("hmdc_ray.profiling.measure.measure", stopped)
    for given, said in (([], True), (["--data", "digits"], False)):
        monkeypatch.setattr(sys, "argv", ["bench", *given])
        with pytest.raises(SystemExit):
            main()
        captured = capsys.readouterr()
        assert ("on the built-in digits" in captured.out) == said and "stopped here" in captured.err
    assert [config.data for config in configs] == [STAND_IN, DataConfig(source="digits")]


def test_missing_data_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith(f"error: --data '{tmp_path / 'none'}' does not exist: give ")


def test_a_trace_holds_the_calls_and_their_operators(finished: Finished, tmp_path: Path) -> None:
    lines: list[str] = []
    write_trace(finished.bench.config, finished.bench.info, tmp_path / "step.json.gz", lines.append)
    assert [path.name for path in tmp_path.iterdir()] == ["step.json.gz"]
    with gzip.open(tmp_path / "step.json.gz", "rt") as file:
        names = {event["name"] for event in json.load(file)["traceEvents"] if "name" in event}
    assert {"worker a: match", "worker a_b: pull_back", "server: apply", "aten::convolution"} <= names
    assert lines == [f"trace of a step: {tmp_path / 'step.json.gz'}"]


@pytest.mark.parametrize(("name", "wrong"), [("step.txt", "must end in .json or .json.gz"), ("none/step.json", "no folder")])
def test_a_trace_that_nothing_could_open_is_refused(tmp_path: Path, name: str, wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        check_trace(tmp_path / name)


def test_starts_are_compared_pair_by_pair() -> None:
    startup = Startup(condense=(10.0, 12.0, 30.0), bare=(10.0, 8.0, 10.0))
    assert startup.ratio == 1.5
    printed = StringIO()
    print_startup(startup, Console(file=printed, width=140))
    assert "1.50" in printed.getvalue()
