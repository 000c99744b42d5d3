"""A search from start to end: check, start, run trials with Ray Tune, choose, evaluate the best
once on test data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune

from hmdc_ray.actors.placement import bundle_options, bundles
from hmdc_ray.actors.session import ray_session
from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import EVALUATION_FILE, IMAGES_FILE, dump_config, flatten
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.description import notes, summary
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.errors import DeadEndError, InputError, mark_resumable
from hmdc_ray.evaluation.device import student_threads
from hmdc_ray.evaluation.mnist import mnist_notes
from hmdc_ray.evaluation.report import Evaluation
from hmdc_ray.exchange.resources import given
from hmdc_ray.figures.image_grid import image_grid
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.evaluate import evaluate
from hmdc_ray.run.validate import validate
from hmdc_ray.search.algorithms import scheduler, searcher
from hmdc_ray.search.folder import SETTINGS_FILE, SearchFolder, begun, claimed
from hmdc_ray.search.importance import comparable_fidelity, parameter_importance
from hmdc_ray.search.outcome import axes_of, images_of, trial_record
from hmdc_ray.search.records import TrialRecord, best_of, write_trials
from hmdc_ray.search.resources import Concurrency, plan_concurrency, wait_for_room
from hmdc_ray.search.settings import FIDELITIES, SearchSettings
from hmdc_ray.search.spaces import SearchSpace, open_space
from hmdc_ray.search.trial import TrialTask
from hmdc_ray.search.trial_names import folder_name
from hmdc_ray.search.watch import Listener, SearchProgress, Watch, listening
from hmdc_ray.server.storage import require_writable
from hmdc_ray.system.files import write_atomically
from hmdc_ray.system.signals import Interrupted, StopRequest, stop_on_signals
from hmdc_ray.tracking import FOLDER, Address, Recorder, Sender

TRIALS_FILE = "trials.json"
BEST_FILE = "best.yaml"
TRIALS_FOLDER = "trials"
TUNE_FOLDER = "tune"

MAX_FAILURES = 3
"""How often a trial is retried after its processes failed."""

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's older output, which can be silenced entirely
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # this package handles signals itself
    "TUNE_GLOBAL_CHECKPOINT_S": "1",  # a killed search repeats what was not saved
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # trials have metrics of their own
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class SearchSummary:
    """What a search left behind.

    Attributes:
        folder: the search's folder.
        trials: all trials, in order.
        best: best trial that reached the last rung.
        config: configuration of the best trial, which ``best.yaml`` holds.
        evaluation: evaluation of the best trial's images on test data.
        figures: files of the figures.
        tracking: instructions to open the search in MLflow; empty when it was not tracked.
    """

    folder: Path
    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    config: RunConfig
    evaluation: Evaluation
    figures: tuple[Path, ...]
    tracking: str


def search(
    config: RunConfig,
    settings: SearchSettings,
    output: Path,
    *,
    resume: bool = False,
    storage_path: str | None = None,
    address: str | None = None,
    progress: SearchProgress,
) -> SearchSummary:
    """Try configurations, each a run with actors of its own, and keep the one of the highest
    accuracy on validation data.

    Args:
        config: base configuration that draws change; its seed is that of all trials and of the
            search.
        settings: the space, the number of trials and the algorithms.
        output: the search's folder, the same on every node.
        resume: whether to resume the search in the folder; finished trials are not repeated. What
            Ray Tune has stored there is unpickled: resume only searches of your own.
        storage_path: folder that all nodes share, or URI such as ``s3://bucket/path``, where Ray
            Tune keeps trials and checkpoints; None: ``output``.
        address: address of a Ray cluster; a local one is started if there is none.
        progress: receiver of the search's progress.

    Raises:
        InputError: configuration, space, data, folder, storage, cluster or tracking server are not
            usable.
        RunError: no trial reached its end.
        Interrupted: SIGINT or SIGTERM came; the search can be resumed.
    """
    settings.check()
    config = _judged_alone(with_absolute_paths(config))
    if resume:
        config = begun(config, output)
    if storage_path is not None and "://" not in storage_path:
        storage_path = str(Path(storage_path).absolute())
    space = open_space(settings.space, config)
    with stop_on_signals() as stop:
        info = _check_base(config)
        remarks = [*notes(info), *mnist_notes(config.evaluation, info.normalisation)]
        for line in (f"data {summary(info)}", *(f"note {note}" for note in remarks)):
            progress.stage(line)
        if storage_path is not None:
            require_writable(storage_path, output.absolute(), "--storage-path", stop.raise_if_requested)
        with (
            claimed(output.absolute(), config, settings, storage_path, resume) as folder,
            ray_session(address, progress.stage, stop.raise_if_requested),
        ):
            progress.stage("checking the cluster's resources")
            planned = plan_concurrency(config, settings.trials, settings.concurrent)
            wait_for_room(planned, stop.raise_if_requested)
            progress.stage(f"searching, {planned.describe()}")
            config = planned.resources.config
            folder, space = replace(folder, config=config), open_space(settings.space, config)
            course = _Course(settings, space, folder, storage_path or str(folder.path), planned, progress, stop)
            return course.run(resume)


class _Course:
    """A search in a claimed folder, connected to Ray."""

    def __init__(
        self,
        settings: SearchSettings,
        space: SearchSpace,
        folder: SearchFolder,
        storage_path: str,
        planned: Concurrency,
        progress: SearchProgress,
        stop: StopRequest,
    ) -> None:
        self._config = folder.config
        self._settings = settings
        self._space = space
        self._claimed = folder
        self._folder = folder.path
        self._storage_path = storage_path
        self._planned = planned
        self._progress = progress
        self._stop = stop

    def run(self, resume: bool) -> SearchSummary:
        """Run the remaining trials, choose the best, and close the tracking run with the search's
        outcome."""
        os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
        tracking = self._open_tracking()
        try:
            summary = self._search(tracking, resume)
        except BaseException as error:
            tracking.finish("KILLED" if isinstance(error, Interrupted) else "FAILED")
            if (self._folder / SETTINGS_FILE).exists():
                mark_resumable(error)
            else:  # the folder stays free for another search
                shutil.rmtree(self._folder / FOLDER, ignore_errors=True)
            raise
        tracking.artifacts(sorted(path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith(".")))
        tracking.finish("FINISHED")
        return summary

    def _search(self, tracking: Recorder, resume: bool) -> SearchSummary:
        listener = Listener(
            self._progress, self._stop.raise_if_requested, self._settings.trials, self._config.cluster.start_timeout
        )
        tuner = self._tuner(self._task(tracking), resume)
        self._claimed.remember()
        with listening(listener):
            grid = tuner.fit()
        results = [grid[index] for index in range(len(grid))]
        trials = sorted((trial_record(result, self._space) for result in results), key=lambda trial: trial.number)
        best = best_of(trials)
        importance = parameter_importance(trials, self._space.domains)
        write_trials(self._folder / TRIALS_FILE, trials, best, self._settings.to_json(), importance)
        _track(tracking, trials)
        if best is None:
            problem = next((trial.problem for trial in trials if trial.problem), "all were stopped")
            raise DeadEndError(
                f"no trial reached its last rung ({problem}): see {self._folder / TRIALS_FILE}, and start another search with "
                "--output"
            )
        chosen = self._chosen(best)
        write_atomically(self._folder / BEST_FILE, dump_config(chosen))
        self._progress.stage("evaluating the best on test data")
        condensed = images_of(results, best)
        evaluation = self._final_evaluation(condensed, chosen)
        figures = self._figures(trials, best, importance)
        return SearchSummary(self._folder, tuple(trials), best, chosen, evaluation, figures, tracking.location)

    def _chosen(self, best: TrialRecord) -> RunConfig:
        """The configuration of the best trial as a run of its own, evaluated on validation data as
        in the search."""
        config = with_absolute_paths(self._space.apply(best.sample))
        return config.model_copy(update={"name": f"{self._config.name}-best"})

    def _final_evaluation(self, condensed: CondensedSet, chosen: RunConfig) -> Evaluation:
        on_test = chosen.model_copy(update={"evaluation": chosen.evaluation.model_copy(update={"split": "test"})})
        evaluation = evaluate(condensed, on_test)
        evaluation.write(self._folder / EVALUATION_FILE)
        image_grid(condensed, self._folder / IMAGES_FILE)
        return evaluation

    def _figures(self, trials: list[TrialRecord], best: TrialRecord, importance: Mapping[str, float]) -> tuple[Path, ...]:
        from hmdc_ray.search.figures.searched import search_figures  # matplotlib takes a second to import

        fidelity = comparable_fidelity(trials)
        rung = "" if fidelity is None else f"accuracies at rung {FIDELITIES.index(fidelity) + 1} of {len(FIDELITIES)}"
        return search_figures(self._folder, trials, axes_of(self._space.domains), best, importance, rung)

    # Parts

    def _task(self, tracking: Recorder) -> TrialTask:
        address = Address.chosen(self._config.tracking.uri, self._folder)
        # Trials have folders of their own, where the default would be another database. A password
        # stays in the environment.
        uri = address.uri if address.uri == address.shown else self._config.tracking.uri
        shared = self._config.tracking.model_copy(update={"uri": uri})
        return TrialTask(
            base=self._planned.resources.fixed().model_copy(update={"tracking": shared}),
            space=self._settings.space,
            folder=str(self._folder / TRIALS_FOLDER),
            code_folder=str(Path.cwd()),
            parent=tracking.run_id or None,
            concurrent=self._planned.count,
        )

    def _tuner(self, task: TrialTask, resume: bool) -> tune.Tuner:
        def trial(sample: dict[str, Any]) -> None:
            task.run(sample)

        trainable = tune.with_resources(trial, _resources(task.base, task.space, self._planned.share))
        with _storage_errors(self._storage_path):
            if resume and self._has_state():
                return tune.Tuner.restore(f"{self._storage_path}/{TUNE_FOLDER}", trainable=trainable, resume_errored=True)
            return tune.Tuner(
                trainable,
                param_space=dict(self._space.domains),
                tune_config=tune.TuneConfig(
                    num_samples=self._settings.trials,
                    search_alg=searcher(self._settings, self._config.seed, self._planned.count),
                    scheduler=scheduler(self._settings),
                    trial_dirname_creator=folder_name,
                    trial_name_creator=folder_name,
                ),
                run_config=tune.RunConfig(
                    name=TUNE_FOLDER,
                    storage_path=self._storage_path,
                    failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                    checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                    callbacks=[Watch()],
                    verbose=0,
                ),
            )

    def _has_state(self) -> bool:
        """Whether Ray Tune has stored any state: it has none if the search was killed as it
        started."""
        local = Path(self._storage_path) / TUNE_FOLDER
        if local.is_dir():
            return any(local.glob("experiment_state-*.json"))
        return tune.Tuner.can_restore(f"{self._storage_path}/{TUNE_FOLDER}")

    def _open_tracking(self) -> Recorder:
        if not self._config.tracking.enabled:
            return Recorder()
        name = f"{self._config.name}-{self._settings.space}"
        tags = {"preset": self._config.name, "seed": str(self._config.seed), "search": self._settings.space}
        sender = Sender.of_run(self._config.tracking, name, self._folder, tags)
        sender.open()  # trials need its id
        recorder = Recorder(sender)
        if sender.is_new:
            recorder.parameters(
                flatten(self._config) | {f"search.{key}": value for key, value in self._settings.to_json().items()}
            )
        return recorder


def _resources(base: RunConfig, space: str, share: float) -> Callable[[Mapping[str, Any]], tune.PlacementGroupFactory]:
    """A function from a draw to the placement group of its trial, whose size depends on the drawn
    pool."""

    def of(sample: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        try:
            config = open_space(space, base).apply(sample)
        except InputError:  # the trial itself reports it
            config = base
        return tune.PlacementGroupFactory(bundles(given(config), share), **bundle_options(config))

    return of


def _track(tracking: Recorder, trials: list[TrialRecord]) -> None:
    """One step per trial: its accuracy, the best so far, its cost."""
    highest = 0.0
    for trial in trials:
        if not trial.rungs or trial.last.problem:
            continue
        if trial.state == "finished":
            highest = max(highest, trial.last.accuracy)
        values = {"accuracy": trial.last.accuracy, "worst": trial.last.worst, "best": highest, "seconds": trial.last.seconds}
        tracking.metrics(trial.number, {f"search/{name}": value for name, value in values.items()})


def _judged_alone(config: RunConfig) -> RunConfig:
    """The configuration with a number for the students' threads: each trial judges its images in
    one process, and a run of ``best.yaml`` is to end with the same accuracies."""
    threads = student_threads(config)
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"threads": threads})})


def _check_base(config: RunConfig) -> DatasetInfo:
    """Refuse a base that no trial could be run or judged with; returns the description of its data.

    Raises:
        InputError: the base is not usable; names the field.
    """
    if not config.evaluation.students:
        raise InputError("evaluation.students is empty: a search needs at least one student to judge trials by")
    on_validation = config.evaluation.model_copy(update={"split": "validation"})
    info = open_dataset(config.data).info
    validate(config.model_copy(update={"evaluation": on_validation}), info)
    return info


@contextmanager
def _storage_errors(storage_path: str) -> Iterator[None]:
    """Turn errors of Arrow's file systems into one-line messages.

    Raises:
        InputError: the storage cannot be read or written.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"--storage-path {storage_path!r} cannot be used ({error}): must be a folder or URI that can be written"
        ) from error
