"""The results of a pre-training: its files, and the table that is shown at the end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from hmdc_ray.config import MemberConfig, Options
from hmdc_ray.system.files import write_atomically

ACCURACIES_FILE, LOSSES_FILE = "accuracies.json", "losses.jsonl"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """One network that was trained.

    Attributes:
        name: name of the pool's member or the student; the weights are in ``NAME.safetensors``.
        architecture: name of the architecture.
        options: options of the architecture.
        start: origin of the first weights: ``scratch``, ``pretrained``, or ``checkpoint:PATH``.
        epochs: passes over the training split.
        steps: number of global batches.
        loss: mean over the last epoch's steps.
        accuracy: accuracy on the split, in [0, 1].
    """

    name: str
    architecture: str
    options: Options
    start: str
    epochs: int
    steps: int
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """All that ``accuracies.json`` holds, under the same names.

    Attributes:
        networks: trained networks, in the order of training.
        split: split of the data on which accuracy was measured.
        seed: seed of all draws.
        workers: number of workers that trained together.
        data_source: source of the data that was learned.
        data_fingerprint: fingerprint of that data.
        version: version of this package.
        schema_version: version of this layout; keys may be added without a new one.
    """

    networks: tuple[TrainedNetwork, ...]
    split: str
    seed: int
    workers: int
    data_source: str
    data_fingerprint: str
    version: str
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path, losses: dict[str, list[float]]) -> None:
        """Write ``accuracies.json``, and ``losses.jsonl``: one line for each step with network,
        step from 0, and loss.

        Raises:
            InputError: a file cannot be written.
        """
        lines = (
            json.dumps({"network": name, "step": step, "loss": loss}, separators=(",", ":")) + "\n"
            for name, curve in losses.items()
            for step, loss in enumerate(curve)
        )
        write_atomically(folder / LOSSES_FILE, "".join(lines))
        write_atomically(folder / ACCURACIES_FILE, json.dumps(asdict(self), indent=2, allow_nan=False) + "\n")

    def table(self) -> Table:
        """Table of accuracies in % for the terminal."""
        built = Table(title=f"Pre-trained networks, accuracy on the {self.split} split in %")
        built.add_column("network", no_wrap=True)
        built.add_column("architecture")
        for name in ("epochs", "steps", "loss", "accuracy"):
            built.add_column(name, justify="right", no_wrap=True)
        for each in self.networks:
            numbers = f"{each.epochs}", f"{each.steps:,}", f"{each.loss:.3g}", f"{100 * each.accuracy:.1f}"
            built.add_row(escape(each.name), escape(each.architecture), *numbers)
        return built

    def assignments(self, folder: Path, members: Sequence[MemberConfig]) -> str:
        """The ``--set`` options with which members of the pool start from the weights in
        ``folder``; empty for none."""
        names = {each.name for each in self.networks}
        return " ".join(
            f"--set {shlex.quote(f'pool.members.{member.name}.weights=checkpoint:{folder / member.name}.safetensors')}"
            for member in members
            if member.name in names
        )
