"""What a run shows: a bar on a terminal, plain lines elsewhere, warnings once, the table at the
end."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hmdc_ray.cli import terminal
from hmdc_ray.cli.terminal import TerminalProgress
from hmdc_ray.run.progress import Progress

from .results import evaluation

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


def shown(target: Console, written: io.StringIO, progress: TerminalProgress) -> str:
    """The bar as it stands now."""
    written.truncate(0)
    target.print(progress._bar.get_renderable())
    return written.getvalue()


def test_a_phase_of_unknown_length_shows_no_numbers_but_its_time() -> None:
    target, written = console(is_terminal=True)
    progress = TerminalProgress(target)
    progress.stage("reading data")
    progress.images_decoded(5, 10)
    progress.stage("starting Ray")
    text = shown(target, written, progress)
    assert "starting Ray" in text and "0:00:0" in text
    assert "/" not in text and "left" not in text and "?" not in text


def test_the_rate_is_that_of_the_whole_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    target, written = console(is_terminal=True)
    progress = TerminalProgress(target)
    now = 100.0
    monkeypatch.setattr(progress._bar, "get_time", lambda: now)
    progress.stage("condensing")
    now += 10
    progress.step(1, 40, {}, {})
    assert "1/40  10.0 s each  0:00:10  0:06:30 left" in shown(target, written, progress)
    now += 2
    for step in range(2, 37):
        progress.step(step, 40, {}, {})
    assert "36/40  3.0/s  0:00:12  0:00:01 left" in shown(target, written, progress)


def test_a_run_gone_on_with_says_from_where_and_counts_its_own_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    target, written = console(is_terminal=True)
    progress = TerminalProgress(target)
    now = 100.0
    monkeypatch.setattr(progress._bar, "get_time", lambda: now)
    progress.stage("condensing")
    now += 2
    progress.step(31, 40, {}, {})
    assert written.getvalue().count("resuming from step 30 of 40") == 1
    assert "31/40  2.0 s each  0:00:02  0:00:18 left" in shown(target, written, progress)
    progress.step(32, 40, {}, {})
    assert "going on" not in written.getvalue()


def test_each_phase_that_ended_leaves_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    target, written = console(is_terminal=True)
    now = 100.0
    with TerminalProgress(target) as progress:
        monkeypatch.setattr(progress._bar, "get_time", lambda: now)
        progress.stage("reading data")
        progress.images_decoded(5, 10)
        now += 1.5
        progress.stage("condensing")
        now += 20
        progress.result(evaluation(("condensed",)))
        now += 100
    assert re.findall(r" +(\d+\.\d s  [a-z ]+)\n", written.getvalue()) == ["1.5 s  reading data", "20.0 s  condensing"]


def test_where_a_run_is_can_be_told_when_it_stops() -> None:
    target, _ = console(is_terminal=False)
    progress = TerminalProgress(target)
    progress.stage("starting Ray")
    assert progress.position == "while starting Ray"
    progress.stage("condensing")
    assert progress.position == "while condensing"
    progress.step(791, 1000, {}, {})
    assert progress.position == "after step 791 of 1000"
    progress.stage("evaluating")
    assert progress.position == "while evaluating"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_target_that_is_left_out_is_warned_of_once(is_terminal: bool) -> None:
    target, written = console(is_terminal=is_terminal)
    with TerminalProgress(target) as progress:
        tell(progress)
    assert written.getvalue().count("vit is left out in 3 classes, its gradient is zero or not finite") == 1
    assert "left out in 4" not in written.getvalue()


def test_the_end_is_a_table() -> None:
    target, written = console(is_terminal=False)
    with TerminalProgress(target) as progress:
        progress.result(evaluation(("condensed",)))
    text = written.getvalue()
    for heading in ("architecture", "in pool", "random", "k-means", "condensed", "gain"):
        assert heading in text
    (row,) = [line for line in text.splitlines() if " convnet " in line]
    assert "33.2 ± 6.7" in row and row.rstrip().endswith("+9.0 │")


def test_the_bar_is_taken_away_when_a_run_fails() -> None:
    target, _ = console(is_terminal=True)
    with pytest.raises(ValueError, match="broken"), TerminalProgress(target) as progress:
        progress.stage("condensing")
        raise ValueError("broken")
    assert not progress._bar.live.is_started
