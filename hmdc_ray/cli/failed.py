"""How a command ends when some of its students have failed: everything is written, and the exit
code is 1."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from hmdc_ray.cli.console import errors, fail, shown
from hmdc_ray.evaluation.report import Evaluation


def end_if_students_failed(evaluation: Evaluation, again: Sequence[str], file: Path | None) -> None:
    """Exit with code 1 and one line: whose training failed, and the command that repeats it; return
    where none did.

    Args:
        evaluation: evaluation that the command has made.
        again: words of the command that repeats failed trainings.
        file: file that the evaluation was written to; None: the first traceback is shown, which
            would be lost.
    """
    failed = evaluation.failed
    if not failed:
        return
    names = ", ".join(dict.fromkeys(trial.student for trial in failed))
    line = f"{len(failed)} of {len(evaluation.trials)} trainings of students failed ({names})"
    if file is None:
        traceback = next((trial.traceback for trial in failed if trial.traceback), "")
        if traceback:
            errors.print(traceback, highlight=False, markup=False, soft_wrap=True)
        fail(f"{line}; with --output FILE.json the others are kept, and these can be done again by themselves", 1)
    command = shlex.join(["hmdc", *(word for word in again if word != "--failed"), "--failed"])
    fail(f"{line}, see 'trials' in {shown(file)}; train them again with: {command}", 1)
