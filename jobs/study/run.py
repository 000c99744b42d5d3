"""The course of the study: learn at every learning rate, choose on validation data, learn more sets, judge on test data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ray

from hmdc_ray.actors.session import fetch, ray_session, remote
from hmdc_ray.config import DistillationConfig, RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import StudentError
from hmdc_ray.evaluation.report import Evaluation, measured_summaries
from hmdc_ray.files import write_atomically
from hmdc_ray.located import located
from hmdc_ray.run import evaluate
from hmdc_ray.validate import validate
from jobs.study.condensing import Outcome, condense_once
from jobs.study.rows import GRID, ROWS, TIMED, Row, study_config
from jobs.study.table import Line, markdown

KD_ROW = "gbm-md-kd"
KD_TITLE = "the same, students with KD"
KD_TEMPERATURE = 1.5
BEST = "gbm-md"

Place = tuple[str, float, int]
"""Row, learning rate and seed of a condensed set."""


class Study:
    """Runs the study; what is in the folder already is not done again.

    Args:
        source: of the images.
        statistics: known mean and standard deviation; None: computed.
        folder: for condensed sets and results.
        sets: condensed sets of every row.
        seeds: students of every architecture on each set.
        changes: further ``section.field=value`` for all runs.
        say: receives lines about the course.
    """

    def __init__(
        self,
        source: str,
        statistics: str | None,
        folder: Path,
        sets: int,
        seeds: int,
        changes: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self.source = source
        self.statistics = statistics
        self.folder = folder.absolute()
        self.sets = sets
        self.seeds = seeds
        self.changes = list(changes)
        self.say = say
        self.outcomes: dict[Place, Outcome] = {}

    def run(self) -> None:
        """Do all of it and write ``study.json`` and ``table.md``.

        Raises:
            InputError: a row does not fit the data.
        """
        self._check()
        with ray_session():
            self._condense(dict.fromkeys(ROWS, GRID), range(1))
            chosen = self._choose()
            self._condense({name: (rate,) for name, rate in chosen.items()}, range(1, self.sets))
            places = {name: [(name, chosen[name], seed) for seed in range(self.sets)] for name in ROWS}
            plain = self._judge([place for some in places.values() for place in some], self.seeds, "test")
            distilled = self._judge(places[BEST], self.seeds, "test", temperature=KD_TEMPERATURE)
        lines = {name: self._line(name, ROWS[name].title, places[name], plain) for name in ROWS}
        lines[KD_ROW] = self._line(KD_ROW, KD_TITLE, places[BEST], distilled)
        write_atomically(
            self.folder / "study.json", json.dumps({name: line.to_json() for name, line in lines.items()}, indent=1)
        )
        write_atomically(self.folder / "table.md", markdown(list(lines.values())))

    def _check(self) -> None:
        """Refuse before Ray is started what every run would."""
        configs = [self._row_config((name, GRID[0], 0)) for name in ROWS]
        info = open_dataset(configs[0].data).info
        for config in configs:
            validate(config, info)

    def _condense(self, rates: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> None:
        """Learn a set for every row, learning rate and seed, as many at a time as there are CPUs."""
        task = remote(condense_once).options(num_cpus=1, max_retries=0)
        for follows in (False, True):  # a row whose budget is another row's work comes after that row
            names = [name for name, row in ROWS.items() if (row.like is not None) == follows]
            places = [(name, rate, seed) for name in names for rate in rates[name] for seed in seeds]
            calls = {task.remote(self._config(place), self._path(place)): place for place in places}
            pending = list(calls)
            while pending:
                (done, *_), pending = ray.wait(pending)
                outcome = self.outcomes[calls[done]] = fetch([done])[0]
                name = self._name(calls[done])
                self.say(f"{name}: {outcome.steps} steps, {outcome.seconds:.0f} s of work; {len(pending)} runs to go")

    def _choose(self) -> dict[str, float]:
        """The best learning rate of every row by mean accuracy on validation data, one student of each architecture."""
        accuracies = {place: self._judge_alone(place) for place in self.outcomes}
        chosen = {name: max(GRID, key=lambda rate: _mean(accuracies[name, rate, 0])) for name in ROWS}
        for name, best in chosen.items():
            rates = ", ".join(f"{rate:g}: {100 * _mean(accuracies[name, rate, 0]):.1f} %" for rate in GRID)
            self.say(f"{name}: learning rate {best:g} ({rates} on validation data)")
        return chosen

    def _judge_alone(self, place: Place) -> dict[str, float]:
        """Accuracy on validation data of one student of each architecture; all 0 if one cannot learn from the images."""
        try:
            return self._judge([place], 1, "validation")[place]
        except StudentError as error:
            self.say(f"{self._name(place)} is out: {error}")
            return dict.fromkeys((student.name for student in self._config(place).evaluation.students), 0.0)

    def _judge(
        self, places: Sequence[Place], seeds: int, split: str, temperature: float | None = None
    ) -> dict[Place, dict[str, float]]:
        """Mean accuracy of every student on every set."""
        config = self._config(places[0])
        distillation = None if temperature is None else DistillationConfig(temperatures=(temperature,))
        wanted = {"seeds": seeds, "split": split, "distillation": distillation}
        config = config.model_copy(update={"seed": 0, "evaluation": config.evaluation.model_copy(update=wanted)})
        folder = self._path(places[0]) if len(places) == 1 else self.folder
        file = folder / f"accuracies-{split}{'' if temperature is None else '-distilled'}.json"
        evaluation: Evaluation = evaluate([self.outcomes[place].condensed for place in places], config)
        evaluation.write(file)
        evaluation.require_complete()
        return {
            place: {name: summary.mean for name, summary in measured_summaries(judged.summaries).items()}
            for place, judged in zip(places, evaluation.sets, strict=True)
        }

    def _line(self, name: str, title: str, places: Sequence[Place], accuracies: Mapping[Place, dict[str, float]]) -> Line:
        outcomes = [self.outcomes[place] for place in places]
        students = {student: [accuracies[place][student] for place in places] for student in accuracies[places[0]]}
        return Line(
            title=title,
            learning_rate=places[0][1],
            steps=outcomes[0].steps,
            seconds=sum(outcome.seconds for outcome in outcomes) / len(outcomes),
            shares=_mean_shares([outcome.shares for outcome in outcomes]),
            students=students,
        )

    def _config(self, place: Place) -> RunConfig:
        name, row, config = place[0], ROWS[place[0]], self._row_config(place)
        if row.like is None:
            return config
        schedule = config.schedule.model_copy(
            update={"iterations": round(config.schedule.iterations * self._factor(name, row))}
        )
        return config.model_copy(update={"schedule": schedule})

    def _row_config(self, place: Place) -> RunConfig:
        """The run of a row that takes as many steps as all."""
        name, rate, seed = place
        config = study_config(
            ROWS[name],
            source=self.source,
            statistics=self.statistics,
            learning_rate=rate,
            seed=seed,
            changes=self.changes,
        )
        return located(config)  # runs take place in other processes

    def _factor(self, name: str, row: Row) -> float:
        """How many times the steps a row may take for the work of the row that it is held against, measured at seed 0."""
        same = next(other for other, candidate in ROWS.items() if candidate.like is None and candidate.pool == row.pool)
        assert row.like is not None and same != name
        work = [sum(self.outcomes[other, rate, 0].seconds for rate in TIMED) for other in (row.like, same)]
        return work[0] / work[1]

    def _path(self, place: Place) -> Path:
        return self.folder / self._name(place)

    @staticmethod
    def _name(place: Place) -> str:
        name, rate, seed = place
        return f"{name}/lr-{rate:g}/seed-{seed}"


def _mean(accuracies: Mapping[str, float]) -> float:
    return sum(accuracies.values()) / len(accuracies)


def _mean_shares(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Part of every target in the update, mean over sets; a member that was drawn for none of a set's iterations has none."""
    targets = dict.fromkeys(target for each in shares for target in each)
    return {target: sum(each.get(target, 0.0) for each in shares) / len(shares) for target in targets}
