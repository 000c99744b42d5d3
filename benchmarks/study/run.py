"""The course of the study: choose learning rates on validation data, learn the sets that count,
judge them on test data."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from benchmarks.study.condensing import Outcome, condense_once
from benchmarks.study.judging import Judged, judge_once
from benchmarks.study.rates import HIGHEST, LOWEST, START, best_rung, next_rung, rate
from benchmarks.study.rows import ALONE, BALANCED, ROWS, WORK, students, study_config, unseen
from benchmarks.study.table import Line, Table
from hmdc_ray.actors.session import fetch, ray_session, remote
from hmdc_ray.config import DistillationConfig, RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.data.schema import Split
from hmdc_ray.run.absolute_paths import with_absolute_paths
from hmdc_ray.run.validate import validate
from hmdc_ray.system.files import write_atomically

KD_ROW = "best-kd"
KD_TEMPERATURE = 1.5

CHOOSING = 0
"""Seed of the sets from which rates are chosen; those that count have seeds 1, 2, ..."""

CHOOSING_STUDENTS = 2
"""Students of each architecture that judge a learning rate."""

USUAL_RUNGS = 4
"""Learning rates that a row is expected to try, for the estimate of the time."""

Place = tuple[str, int, int]
"""Row, rung of the learning rate and seed of a condensed set."""

Found = tuple[Outcome, dict[str, Judged]]


class Study:
    """Runs the study; results that are in the folder already are not computed again.

    Args:
        source: source of the images: ``digits``, a Parquet file, or a folder of them.
        statistics_name: name of known mean and standard deviation; None: computed.
        folder: folder for condensed sets and results.
        sets: number of condensed sets of every row.
        seeds: number of students of every architecture on each set.
        distilled: whether rows with mutual distillation take part.
        changes: further assignments ``section.field=value`` for all runs.
        say: callback that gets lines on the progress.
    """

    def __init__(
        self,
        source: str,
        statistics_name: str | None,
        folder: Path,
        sets: int,
        seeds: int,
        distilled: bool,
        changes: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self.source = source
        self.statistics_name = statistics_name
        self.folder = folder.absolute()
        self.sets = range(CHOOSING + 1, CHOOSING + 1 + sets)
        self.seeds = seeds
        self.rows = {name: row for name, row in ROWS.items() if distilled or row.agreement is None}
        self.changes = list(changes)
        self.say = say
        self.factors: dict[str, float] = {}
        self._seconds: dict[str, dict[int, float]] = {}

    def run(self) -> Table:
        """Run the whole study; write ``study.json`` and ``table.md``.

        Returns:
            The table.

        Raises:
            InputError: a row does not fit the data.
        """
        self._check()
        with ray_session():
            self._estimate()
            rungs = self._choose()
            places = {name: [(name, rungs[name], seed) for seed in self.sets] for name in self.rows}
            found = self._learn([place for some in places.values() for place in some], ("validation", "test"))
            best = self._best(places, found)
            distilled = self._learn(places[best], ("test-distilled",))
        lines = [self._line(name, self.rows[name].title, places[name], found, "test") for name in self.rows]
        lines.append(
            self._line(KD_ROW, f"{self.rows[best].title}; students with KD", places[best], distilled, "test-distilled")
        )
        table = Table(lines, against=WORK, unseen=tuple(unseen(self.source)))
        write_atomically(self.folder / "study.json", json.dumps(table.to_json(), indent=1) + "\n")
        write_atomically(self.folder / "table.md", table.markdown())
        return table

    def _check(self) -> None:
        """Refuse before Ray is started what every run would refuse."""
        configs = [self._config((name, START[0], CHOOSING)) for name, row in self.rows.items() if row.short is None]
        info = open_dataset(configs[0].data).info
        for config in configs:
            validate(config, info)

    def _estimate(self) -> None:
        """Say how long all will take, from one iteration of each kind of row and one student of
        each architecture."""
        file = self.folder / "estimate.json"
        if not file.exists():
            names = [ALONE, BALANCED, *(name for name, row in self.rows.items() if row.agreement)]
            calls = {}
            for name in names:
                config = self._config((name, START[1], CHOOSING))
                calls[name] = (self._shortened(config), self.folder / "timing" / name, name == ALONE)
            measured = dict(self._each(_timed, calls))
            judging = measured[ALONE][1]
            iteration = {name: seconds for name, (seconds, _) in measured.items()}
            write_atomically(file, json.dumps({"iteration": iteration, "judging": judging}) + "\n")
        known = json.loads(file.read_text())
        iterations = self._config((ALONE, START[1], CHOOSING)).schedule.iterations
        work = {name: iterations * self._iteration(name, known["iteration"]) for name in self.rows}
        learning = sum(work.values()) * (USUAL_RUNGS + len(self.sets))
        judged = len(self.rows) * (USUAL_RUNGS * CHOOSING_STUDENTS + len(self.sets) * (1 + self.seeds))
        judging = known["judging"] * (judged + 2 * len(self.sets) * self.seeds)
        processes = int(ray.cluster_resources().get("CPU", 1))
        self.say(
            f"estimate: up to {(learning + judging) / 60 / processes:.0f} minutes in {processes} processes of one thread"
            f" ({learning / 60:.0f} minutes of work for learning, {judging / 60:.0f} for students)"
        )

    def _iteration(self, name: str, measured: Mapping[str, float]) -> float:
        """Seconds of an iteration; a drawn pool's are a part of those of all its members."""
        row = self.rows[name]
        if row.short is not None:
            return measured[BALANCED]
        return measured.get(name, measured[BALANCED] * row.pool.drawn / len(row.pool.members))

    @staticmethod
    def _shortened(config: RunConfig) -> RunConfig:
        return config.model_copy(update={"schedule": config.schedule.model_copy(update={"iterations": 1})})

    def _choose(self) -> dict[str, int]:
        """The best learning rate of every row on validation data, as its rung; the grid grows where
        the best is at its end."""
        chosen: dict[str, int] = {}
        for follows in (False, True):  # rows whose budget is the work of others come after those
            names = [name for name, row in self.rows.items() if (row.short is not None) == follows]
            for name in names:
                self.factors[name] = self._factor(name)
            accuracies: dict[str, dict[int, float]] = {name: {} for name in names}
            wanted = [(name, rung, CHOOSING) for name in names for rung in START]
            while wanted:
                for (name, rung, _), (outcome, judged) in self._learn(wanted, ("validation",)).items():
                    accuracies[name][rung] = _mean_of(judged["validation"])
                    self._seconds.setdefault(name, {})[rung] = outcome.seconds
                further = {name: next_rung(accuracies[name]) for name in names}
                wanted = [(name, rung, CHOOSING) for name, rung in further.items() if rung is not None]
            for name in names:
                chosen[name] = best_rung(accuracies[name])
                tried = ", ".join(f"{rate(rung):g}: {100 * value:.1f}" for rung, value in sorted(accuracies[name].items()))
                end = " at the end of all rates" if chosen[name] in (LOWEST, HIGHEST) else ""
                self.say(f"{name}: learning rate {rate(chosen[name]):g}{end} (validation, %: {tried})")
        return chosen

    def _best(self, places: Mapping[str, Sequence[Place]], found: Mapping[Place, Found]) -> str:
        """The row of all four members that is best on validation data, for students with KD."""
        values = {
            name: statistics.fmean(_mean_of(found[place][1]["validation"]) for place in some)
            for name, some in places.items()
            if len(self.rows[name].pool.members) > 1
        }
        best = max(values, key=values.__getitem__)
        self.say("best pool: " + best + " (" + ", ".join(f"{name} {100 * v:.1f}" for name, v in values.items()) + ")")
        return best

    def _learn(self, places: Sequence[Place], judges: Sequence[str]) -> dict[Place, Found]:
        """Learn sets and have them judged, as many at a time as there are CPUs: a set of every row,
        then the next, so that a study that is stopped has whole ones; of a set's rows the longest
        first."""
        calls: dict[Place, tuple[Any, ...]] = {}
        for place in sorted(places, key=lambda place: (place[2], -len(self.rows[place[0]].pool.members))):
            config = self._config(place)
            calls[place] = (config, self._path(place), {judge: self._judge(config, place[2], judge) for judge in judges})
        found: dict[Place, Found] = {}
        for place, (outcome, judged) in self._each(_learn_and_judge, calls):
            found[place] = (outcome, judged)
            means = ", ".join(f"{judge} {100 * _mean_of(each):.1f} %" for judge, each in judged.items())
            self.say(
                f"{self._name(place)}: {outcome.steps} steps, {outcome.seconds:.0f} s of work, {means};"
                f" {len(calls) - len(found)} to go"
            )
        return found

    def _each(self, function: Callable[..., Any], calls: Mapping[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
        """Call the function in processes of one thread each: keys and results, in the order in
        which they come."""
        task = remote(function).options(num_cpus=1, max_retries=0)
        pending = {task.remote(*arguments): key for key, arguments in calls.items()}
        while pending:
            (done, *_), _ = ray.wait(list(pending))
            yield pending.pop(done), fetch([done])[0]

    def _judge(self, config: RunConfig, seed: int, judge: str) -> RunConfig:
        """The evaluation of a set; the same seed has the same students in all rows."""
        split: Split = "validation" if judge == "validation" else "test"
        seeds = self.seeds if split == "test" else CHOOSING_STUDENTS if seed == CHOOSING else 1
        teacher = students(self.source)[0]
        kd = DistillationConfig(teacher=teacher, temperatures=(KD_TEMPERATURE,)) if judge == "test-distilled" else None
        wanted = {"seeds": seeds, "split": split, "distillation": kd}
        return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=wanted)})

    def _line(self, name: str, title: str, places: Sequence[Place], found: Mapping[Place, Found], judge: str) -> Line:
        outcomes = [found[place][0] for place in places]
        judged = [found[place][1][judge] for place in places]
        names = list(judged[0].accuracies)
        return Line(
            name=name,
            title=title,
            learning_rate=rate(places[0][1]),
            steps=outcomes[0].steps,
            seconds=statistics.fmean(outcome.seconds for outcome in outcomes),
            shares=_means([outcome.shares for outcome in outcomes], absent=0.0),
            agreement=_means([outcome.agreement for outcome in outcomes]),
            students={student: [statistics.fmean(each.accuracies[student]) for each in judged] for student in names},
            failed={student: statistics.fmean(f for each in judged for f in each.failed[student]) for student in names},
        )

    def _config(self, place: Place) -> RunConfig:
        name, rung, seed = place
        config = study_config(
            self.rows[name],
            source=self.source,
            statistics=self.statistics_name,
            learning_rate=rate(rung),
            seed=seed,
            changes=self.changes,
        )
        iterations = max(1, round(config.schedule.iterations * self.factors.get(name, 1.0)))
        schedule = config.schedule.model_copy(update={"iterations": iterations})
        return with_absolute_paths(config.model_copy(update={"schedule": schedule}))  # runs take place in other processes

    def _factor(self, name: str) -> float:
        """How many times the iterations of all a row may take, for the work of all four members
        balanced.

        Measured once, as medians over the rates that all rows try, and then kept: a resumed study
        has the same.
        """
        short = self.rows[name].short
        if short is None:
            return 1.0
        file = self.folder / "work.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        new = {
            row: statistics.median(self._seconds[row][rung] for rung in START) for row in (short, BALANCED) if row not in known
        }
        if new:
            known |= new
            write_atomically(file, json.dumps(known) + "\n")
        return float(known[BALANCED] / known[short])

    def _path(self, place: Place) -> Path:
        return self.folder / self._name(place)

    @staticmethod
    def _name(place: Place) -> str:
        name, rung, seed = place
        return f"{name}/lr-{rate(rung):g}/seed-{seed}"


def _learn_and_judge(config: RunConfig, folder: Path, judges: Mapping[str, RunConfig]) -> Found:
    outcome = condense_once(config, folder)
    return outcome, {name: judge_once(outcome.condensed, judge, folder / f"{name}.json") for name, judge in judges.items()}


def _timed(config: RunConfig, folder: Path, judges: bool) -> tuple[float, float]:
    """Processor seconds of a run, and of one student of each architecture."""
    outcome = condense_once(config, folder)
    start = time.process_time()
    if judges:
        settings = config.evaluation.model_copy(update={"seeds": 1, "split": "validation"})
        judge_once(outcome.condensed, config.model_copy(update={"evaluation": settings}), folder / "validation.json")
    return outcome.seconds, time.process_time() - start


def _mean_of(judged: Judged) -> float:
    """Mean over the students."""
    return statistics.fmean(statistics.fmean(values) for values in judged.accuracies.values())


def _means(values: Sequence[Mapping[str, float]], absent: float | None = None) -> dict[str, float]:
    """Mean over sets by name; a set without the name counts ``absent``, or not at all."""
    names = dict.fromkeys(name for each in values for name in each)
    filled = {name: [each.get(name, absent) for each in values] for name in names}
    return {name: statistics.fmean(value for value in some if value is not None) for name, some in filled.items()}
