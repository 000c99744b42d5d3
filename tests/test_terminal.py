"""What a run shows: a bar on a terminal, plain lines elsewhere, warnings once, the table at the end."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from hmdc_ray import terminal
from hmdc_ray.evaluation.report import Evaluation, Row
from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.progress import Progress, Silent
from hmdc_ray.terminal import TerminalProgress

METRICS = {
    "loss/vit_classification": 13.24,
    "gbm/weight_vit": 0.0812,
    "gbm/weight_distillation": 195.0,
    "seconds/step": 0.5,
}
DETAIL = "loss ×weight: vit 13.2 ×0.081, distillation ×2e+02"


def console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=is_terminal, width=200, color_system=None, legacy_windows=False), written


def tell(progress: Progress) -> None:
    progress.stage("reading data")
    progress.images_decoded(5, 10)
    progress.stage("condensing")
    progress.step(1, 40, METRICS, {})
    progress.step(2, 40, METRICS, {"vit": 3})
    progress.step(40, 40, METRICS, {"vit": 4})
    progress.trial(1, 2)


def test_without_a_terminal_lines_are_few_and_plain() -> None:
    target, written = console(is_terminal=False)
    with TerminalProgress(target) as progress:
        tell(progress)
    lines = [line.partition(" s  ")[2] for line in written.getvalue().splitlines() if " s  " in line]
    assert lines == [
        "reading data",
        "decoding images 5/10",
        "condensing",
        f"condensing 1/40 {DETAIL}",
        f"condensing 40/40 {DETAIL}",
    ]
    assert "\x1b" not in written.getvalue()


def test_without_a_terminal_a_long_part_shows_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(terminal, "monotonic", lambda: float(next(now)))
    target, written = console(is_terminal=False)
    with TerminalProgress(target) as progress:
        for step in range(1, 10):
            progress.step(step, 40, {}, {})
    assert 2 <= len(written.getvalue().splitlines()) < 9


def test_a_terminal_shows_a_bar_with_losses_and_weights() -> None:
    target, written = console(is_terminal=True)
    with TerminalProgress(target) as progress:
        tell(progress)
        progress.step(3, 40, METRICS, {})
        progress._bar.refresh()
    text = written.getvalue()
    assert "3/40" in text and DETAIL in text and "left" in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_target_that_is_left_out_is_warned_of_once(is_terminal: bool) -> None:
    target, written = console(is_terminal=is_terminal)
    with TerminalProgress(target) as progress:
        tell(progress)
    assert written.getvalue().count("vit is left out in 3 classes, its gradient is zero or not finite") == 1
    assert "left out in 4" not in written.getvalue()


def evaluation() -> Evaluation:
    row = Row("vit", True, summarise_values([0.5, 0.54]), summarise_values([0.4, 0.42]), None, {})
    return Evaluation(
        rows=(row, replace(row, architecture="mlp", in_pool=False)),
        protocol="dc",
        split="test",
        epochs=2,
        augmentation=False,
        seeds=2,
        run_seed=0,
        ipc=1,
        formation=1,
        mean=(0.0,),
        std=(1.0,),
        data_source="digits",
        data_fingerprint="f",
        condensed_fingerprint="f",
        version="0",
    )


def test_the_end_is_a_table() -> None:
    target, written = console(is_terminal=False)
    with TerminalProgress(target) as progress:
        progress.result(evaluation())
    text = written.getvalue()
    for heading in ("architecture", "in pool", "random", "k-means", "condensed", "gain"):
        assert heading in text
    (vit,) = [line for line in text.splitlines() if " vit " in line]
    assert [cell.strip() for cell in vit.strip("│").split("│")] == ["vit", "yes", "41.0 ± 12.7", "–", "52.0 ± 25.4", "+11.0"]


def test_the_bar_is_taken_away_when_a_run_fails() -> None:
    target, _ = console(is_terminal=True)
    with pytest.raises(ValueError, match="broken"), TerminalProgress(target) as progress:
        progress.stage("condensing")
        raise ValueError("broken")
    assert not progress._bar.live.is_started


def test_silence() -> None:
    progress: Progress = Silent()
    tell(progress)
    progress.result(evaluation())
