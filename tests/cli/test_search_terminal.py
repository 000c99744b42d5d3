"""A search on a terminal: a line for everything that happens, and the best trials first in the
table."""

from __future__ import annotations

import io

from rich.console import Console

from hmdc_ray.cli.search_terminal import SHOWN, TerminalSearch, trials_table
from hmdc_ray.search.records import RungRecord, TrialRecord

from .results import columns, printed, search_table


def test_each_event_is_a_line() -> None:
    written = io.StringIO()
    shown = TerminalSearch(Console(file=written, width=40))
    shown.stage("starting trials")
    shown.rung(1, 5, RungRecord(20, 1, 1, 0.31, 0.25, "mlp", {}, 12.34))
    shown.rung(2, 5, RungRecord(20, 4, 1, 0.31, 0.25, "mlp", {}, 1.0, "the loss is not finite [images]"))
    shown.stopped(1, 5)
    shown.failure(3, 5, "the actor died", True)
    shown.failure(3, 5, "the actor died", False)
    assert [line.partition("  ")[2] for line in written.getvalue().splitlines()] == [
        "starting trials",
        "trial 1 of 5: 1 iteration in 12.3 s, accuracy 31.0 %, worst 25.0 % (mlp)",
        "trial 2 of 5: failed, the loss is not finite [images]",
        "trial 1 of 5: stopped",
        "trial 3 of 5: the actor died; tried again",
        "trial 3 of 5: the actor died; given up",
    ]


def test_the_best_of_the_last_rung_come_first_and_the_rest_is_counted() -> None:
    def trial(number: int, accuracy: float, state: str) -> TrialRecord:
        rung = RungRecord(100, 4, 1, accuracy, 0.1, "mlp", {}, 2.0)
        return TrialRecord(number, "", state, {}, {}, (rung,))  # type: ignore[arg-type]

    trials = [trial(1, 0.9, "stopped"), trial(2, 0.5, "finished"), *(trial(3 + n, 0.6, "finished") for n in range(SHOWN))]
    text = printed([trials_table(trials, trials[2])], None)
    assert columns(text)["trial"] == [str(3 + n) for n in range(SHOWN)]
    text = " ".join(text.split())
    assert f"{SHOWN + 2} trials ({SHOWN + 1} finished, 1 stopped)" in text and f"the {SHOWN} best" in text


def test_what_looks_like_markup_is_shown() -> None:
    assert "[images]" in printed([search_table()], None)
