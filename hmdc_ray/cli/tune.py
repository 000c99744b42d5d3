"""The command ``hmdc tune``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from hmdc_ray.cli.configuration import read_configuration, telling_how_to_resume
from hmdc_ray.cli.console import Address, Assignments, Data, console, say, shown
from hmdc_ray.config.io import EVALUATION_FILE


def tune(
    configuration: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Preset, YAML file, or folder of a run.")],
    space: Annotated[
        str,
        typer.Option(
            help="What to search: pool_probabilities, loss_weights, optimisation, distillation, joint, smoke; or import path."
        ),
    ],
    data: Data = None,
    trials: Annotated[int, typer.Option(help="Configurations to try.")] = 20,
    scheduler: Annotated[str, typer.Option(help="What stops bad trials early: asha, hyperband, none.")] = "asha",
    search: Annotated[str, typer.Option(help="What proposes configurations: optuna, random.")] = "optuna",
    multi_objective: Annotated[
        bool, typer.Option("--multi-objective", help="Accuracy against seconds, with optuna and without a scheduler.")
    ] = False,
    concurrent: Annotated[int | None, typer.Option(help="Trials at a time; without it, as many as there are CPUs for.")] = None,
    set_: Assignments = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the search; runs/NAME-SPACE without it.")] = None,
    storage_path: Annotated[
        str | None,
        typer.Option(help="Folder or URI (s3://...) for trials and checkpoints; without it, in the search's folder."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the search in that folder, which must be your own.")] = False,
    address: Address = None,
) -> None:
    """Search for the configuration of the highest accuracy on validation data, a run per trial."""
    config = read_configuration(configuration, set_, {"data.source": data})
    from hmdc_ray.cli.evaluation_table import print_evaluation
    from hmdc_ray.cli.failed import end_if_students_failed
    from hmdc_ray.cli.search_terminal import TerminalSearch, trials_table
    from hmdc_ray.cli.tables import print_table
    from hmdc_ray.evaluation.request import repetition
    from hmdc_ray.search.search import BEST_FILE, TRIALS_FILE, TRIALS_FOLDER
    from hmdc_ray.search.search import search as run
    from hmdc_ray.search.settings import SearchSettings

    chosen: Any = {"scheduler": scheduler, "search": search}  # checked with the other settings
    settings = SearchSettings(space=space, trials=trials, concurrent=concurrent, multi_objective=multi_objective, **chosen)
    folder = output or Path("runs") / f"{config.name}-{space.rpartition('.')[2]}"
    with telling_how_to_resume(lambda: "while searching"):
        progress = TerminalSearch(console)
        summary = run(config, settings, folder, resume=resume, storage_path=storage_path, address=address, progress=progress)
    print_table(console, trials_table(summary.trials, summary.best))
    print_evaluation(console, summary.evaluation)
    say(f"best        trial {summary.best.number}: {shown(summary.folder / BEST_FILE)}")
    say(f"trials      {shown(summary.folder / TRIALS_FILE)}")
    for figure in summary.figures:
        say(f"figure      {shown(figure)}")
    say(f"run it      hmdc condense {shlex.quote(shown(summary.folder / BEST_FILE))}")
    for label, line in zip(("MLflow", ""), summary.tracking.splitlines(), strict=False):
        say(f"{label:<12}{line}")
    file = summary.folder / EVALUATION_FILE
    again = repetition(summary.config, Path(shown(summary.folder / TRIALS_FOLDER / summary.best.name)))
    again += ["--set", "evaluation.split=test", "--output", shown(file)]
    end_if_students_failed(summary.evaluation, again, file)
