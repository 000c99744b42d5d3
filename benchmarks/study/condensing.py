"""One run of the study in one process and one thread, so that rows differ in nothing else and cores
are never idle.

Its pixels are those of ``hmdc condense`` with the same configuration: a pool in one process and a
pool of actors agree to the last bit.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.condensed import CondensedSet, load_condensed, save_condensed
from hmdc_ray.config import RunConfig
from hmdc_ray.config.io import dump_config, load_config
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.errors import InputError
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.system.files import append_json_line, write_atomically
from hmdc_ray.system.memory import keep_freed_memory

SHARE = "gbm/share_"
AGREEMENT = "agreement/"


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        condensed: condensed set that it learned.
        seconds: processor time of all members and of the server.
        steps: number of image steps.
        shares: mean part of every target in the applied update, by name.
        agreement: mean of each of the run's measures of mutual distillation over the steps that
            have it, by name.
    """

    condensed: CondensedSet
    seconds: float
    steps: int
    shares: dict[str, float]
    agreement: dict[str, float] = field(default_factory=dict)


def condense_once(config: RunConfig, folder: Path) -> Outcome:
    """Run a configuration, or read what an earlier call with the same one left in ``folder``.

    Raises:
        InputError: the folder holds the images of another configuration.
    """
    record = folder / "outcome.json"
    if record.exists():
        if load_config(folder) != config:
            raise InputError(f"{folder} holds images of another configuration: give another --output")
        found = json.loads(record.read_text())
        return Outcome(load_condensed(folder), found["seconds"], found["steps"], found["shares"], found.get("agreement", {}))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").unlink(missing_ok=True)
    dataset = open_dataset(config.data)
    keep_freed_memory()
    start = time.process_time()
    pool = LocalPool(config, dataset.info, folder)
    shares: dict[str, list[float]] = defaultdict(list)
    agreement: dict[str, list[float]] = defaultdict(list)

    def after_step(step: StepRecord) -> None:
        append_json_line(folder / "metrics.jsonl", {**step.position, **step.metrics})
        for name, value in step.metrics.items():
            if name.startswith(SHARE):
                shares[name.removeprefix(SHARE)].append(value)
            if name.startswith(AGREEMENT):
                agreement[name.removeprefix(AGREEMENT)].append(value)

    coordinator = Coordinator(
        _in_one_process(config), pool, classes=len(dataset.info.class_names), train_images=dataset.info.sizes["train"]
    )
    coordinator.run(0, after_step)
    condensed = CondensedSet.learned(pool.server.snapshot().images_KICHW, dataset.info, config)
    steps = config.schedule.iterations * config.schedule.steps
    means = {name: sum(values) / steps for name, values in shares.items()}
    measures = {name: sum(values) / len(values) for name, values in agreement.items()}
    outcome = Outcome(condensed, time.process_time() - start, steps, means, measures)
    write_atomically(folder / "config.yaml", dump_config(config))
    save_condensed(folder / "condensed.parquet", condensed)
    kept = {"seconds": outcome.seconds, "steps": steps, "shares": means, "agreement": measures}
    write_atomically(record, json.dumps(kept))
    return outcome


def _in_one_process(config: RunConfig) -> RunConfig:
    """The run with one class in a call where nothing is configured: calls in one process cost
    nothing, so that no more graphs than those of a class need be in memory."""
    if config.matching.classes_per_call is not None:
        return config
    return config.model_copy(update={"matching": config.matching.model_copy(update={"classes_per_call": 1})})
