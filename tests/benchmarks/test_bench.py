"""The bench on two tiny networks: its numbers against counts by hand, and against each other."""

from __future__ import annotations

import gzip
import json
import math
import sys
from io import StringIO
from pathlib import Path

import pytest
from measured import Measured
from rich.console import Console
from whole_runs import tiniest

import benchmarks.pretend_device  # noqa: F401  # before the first derivative, as it must be
from benchmarks.bench.__main__ import bench
from benchmarks.bench.configuration import STAND_IN, bench_config
from benchmarks.bench.report import print_startup, print_tracking, print_waits
from benchmarks.bench.startup import Startup
from benchmarks.bench.trace import check_trace, write_trace
from benchmarks.bench.tracking import TrackingCost, measure_tracking
from benchmarks.bench.waits import CHOOSING, PLAIN, count_waits, waits_config
from hmdc_ray.cli.console import run_alone
from hmdc_ray.config import DataConfig, RunConfig
from hmdc_ray.errors import InputError
from hmdc_ray.profiling.measure import Bench
from hmdc_ray.profiling.steps import WARM_UP


def test_ratio_and_shares_are_printed(measured: Measured) -> None:
    bench = measured.bench
    assert bench.ratio == bench.one_process.seconds / bench.actors.seconds
    rows = [" ".join(line.split()) for line in measured.printed.splitlines()]
    assert f"ratio: actors are so many times as fast {bench.ratio:.2f}" in rows
    outside = bench.actors.steps[0].outside(bench.workers)
    assert f"share of an actor step outside the busiest worker's computation {outside:.1%}" in rows
    assert any(row.startswith("apply (image step)") for row in rows)
    assert f"all calls {' '.join(_megabytes(bench))}" in rows


def _megabytes(bench: Bench) -> list[str]:
    processes = [*bench.workers, "server", "driver"]
    sums = [sum(count for (name, _), count in bench.traffic.items() if name == process) for process in processes]
    return [f"{count / 1e6:,.3f}" for count in (*sums, sum(sums))]


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
    pool = {"members": ["mlp"]}  # who computes does not matter
    cost = measure_tracking(tiniest(tmp_path, pool=pool), 2, lines.append, delay=0.02)
    assert (cost.steps, len(cost.tracked), len(cost.untracked)) == (3, 2, 2)
    assert min(cost.tracked + cost.untracked) > 0
    assert not [record for record in caplog.records if "tracking" in record.name]  # the tracker warns of what it cannot send
    printed = StringIO()
    print_tracking(cost, Console(file=printed, width=140))
    assert "answers after 0.02 s" in printed.getvalue() and f"{cost.slowdown:.1%}" in printed.getvalue()


def test_the_slowdown_is_that_of_neighbouring_pairs() -> None:
    cost = TrackingCost(1.0, 1, tracked=(1.1, 30.0, 2.0), untracked=(1.0, 10.0, 2.0))
    assert math.isclose(cost.slowdown, 0.1)


def test_a_gpu_would_wait_for_exchanges_and_draws_alone() -> None:
    """Each of two members: three exchanges, one for each batch of the training and of the
    aligners', and their draws on the way there, their losses on the way back; k-means one more."""
    waits = count_waits(waits_config())
    copies = 2 * (3 + (1 + 3) + (1 + 3 + 1))
    assert list(waits[PLAIN].values()) == [copies, copies, 0]
    assert list(waits[CHOOSING].values()) == [copies + 1, copies + 1, 0]
    printed = StringIO()
    print_waits(waits, Console(file=printed, width=140))
    rows = [" ".join(line.split()) for line in printed.getvalue().splitlines()]
    assert f"{PLAIN} {copies} {copies} 0 {2 * copies}" in rows
    assert f"{CHOOSING} {copies + 1} {copies + 1} 0 {2 * copies + 2}" in rows


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
            run_alone(bench)
        captured = capsys.readouterr()
        assert ("on the built-in digits" in captured.out) == said and "stopped here" in captured.err
    assert [config.data for config in configs] == [STAND_IN, DataConfig(source="digits")]


def test_missing_data_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--data", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stopped:
        run_alone(bench)
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith(f"error: --data '{tmp_path / 'none'}' does not exist: give ")


def test_a_trace_holds_the_calls_and_their_operators(measured: Measured, tmp_path: Path) -> None:
    lines: list[str] = []
    write_trace(measured.bench.config, measured.bench.info, tmp_path / "step.json.gz", lines.append)
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
