"""The parameter server: holds the synthetic images, forms the consensus, balances and applies updates. A plain class.

Shapes: K classes, I stored images per class, C x H x W an image; N members drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hmdc_ray.config import BalanceConfig, ImagesConfig
from hmdc_ray.matching.distillation import Agreement
from hmdc_ray.matching.ssd import common_size, token_mask
from hmdc_ray.messages import (
    Array,
    BalanceRecord,
    Cotangents,
    Features,
    Gradients,
    MemberTaps,
    PulledBack,
    Snapshot,
    State,
    check_version,
)
from hmdc_ray.schedule import StepPlan
from hmdc_ray.server.balance import GradientBalance
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder
from hmdc_ray.server.images import SyntheticImages
from hmdc_ray.server.spikes import SpikeGuard


class ParameterServer:
    """Synthetic images and the balance of targets.

    Sums run in the order of members in the pool, never in order of arrival, so that the same step gives the same bits.

    Args:
        initial_KICHW: images before the first step.
        mean: per channel, on the scale [0, 1].
        std: per channel, on the scale [0, 1].
        images: optimiser of the images.
        balance: how targets are balanced.
        loss_weights: lambda of every pool member.
        main: position of the main member in the pool.
        threads: torch threads of the server's process.
        checkpoints: where states are saved.
        identity: what a run that continues from a checkpoint must share with this one.
    """

    def __init__(
        self,
        *,
        initial_KICHW: Array,
        mean: Sequence[float],
        std: Sequence[float],
        images: ImagesConfig,
        balance: BalanceConfig,
        loss_weights: Sequence[float],
        main: int,
        threads: int,
        checkpoints: CheckpointFolder,
        identity: Mapping[str, Any],
    ) -> None:
        torch.set_num_threads(threads)
        self.images = SyntheticImages(torch.tensor(initial_KICHW), mean, std, images)
        self.balance = GradientBalance(balance.mode, balance.period, classes=len(initial_KICHW))
        self.spikes = SpikeGuard(balance.spike_factor, classes=len(initial_KICHW))
        self.distillation_weight = balance.distillation_weight
        self.loss_weights = tuple(loss_weights)
        self.main = main
        self.checkpoints = checkpoints
        self.identity = identity
        self.agreement: Agreement | None = None
        self._direction_KICHW = torch.zeros_like(self.images.images_KICHW)
        self._collected: set[int] = set()

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[MemberTaps]) -> None:
        """Start an iteration: forget the balance's history, and learn which tokens each member drawn has.

        Args:
            iteration: from 0.
            members: positions of the members drawn.
            drawn: their taps, or nothing without mutual distillation.
        """
        self.agreement = None
        if drawn:
            size = common_size([member.taps for member in drawn])
            self.agreement = Agreement([token_mask(member.taps, size) for member in drawn])
        self.balance.reset(len(members) + bool(drawn))
        self.spikes.reset(len(members) + bool(drawn))

    def snapshot(self) -> Snapshot:
        """A copy of the images with their version."""
        return Snapshot(self.images.version, self.images.images_KICHW.numpy().copy())

    def consensus(self, plan: StepPlan, *features: Features) -> Features:
        """Mean over members of every batch of features, given in the order of the pool.

        In a batch where a member's features are not finite it has no say.
        """
        for part in features:
            check_version("a feature", part.version, plan.version)
        assert self.agreement is not None
        batches = zip(*(part.batches for part in features), strict=True)
        return Features(plan.version, tuple(self._mean(batch) for batch in batches))

    def share(self, plan: StepPlan, *cotangents: Cotangents) -> Cotangents:
        """Each member's share of the summed cotangents: the sum over members, divided by how many have the token."""
        assert self.agreement is not None
        for part in cotangents:
            check_version("a cotangent", part.version, plan.version)
        shares = []
        for batch in zip(*(part.batches for part in cotangents), strict=True):
            total = torch.from_numpy(batch[0].copy())
            for array in batch[1:]:
                total += torch.tensor(array)
            shares.append(self.agreement.mean(total).numpy())
        return Cotangents(plan.version, cotangents[0].labels, tuple(shares))

    def collect(self, plan: StepPlan, members: int, *parts: Gradients | PulledBack) -> BalanceRecord:
        """Balance one chunk of classes and keep its direction until :meth:`apply`.

        Args:
            plan: the step.
            members: N.
            parts: the gradients of the N members in the order of the pool, then their pulled-back gradients, if any.
        """
        for part in parts:
            check_version("a gradient", part.version, self.images.version)
        gradients = [part for part in parts[:members] if isinstance(part, Gradients)]
        pulled = [part for part in parts[members:] if isinstance(part, PulledBack)]
        labels = gradients[0].labels
        targets = [torch.tensor(part.classification_KICHW) for part in gradients]
        weights = [self.loss_weights[member] for member in plan.members]
        losses = [part.classification_losses for part in gradients]
        shared = [part.distillation_KICHW for part in gradients if part.distillation_KICHW is not None]
        if shared:
            targets.append(_sum([*shared, *(part.images_KICHW for part in pulled)]))
            weights.append(self.distillation_weight)
            losses.append(tuple(map(sum, zip(*(part.distillation_losses for part in gradients), strict=True))))
        admitted_KT = self.spikes.admits(labels, losses)
        reference = plan.members.index(self.main) if self.main in plan.members else 0
        balanced = self.balance.balance(plan.step, labels, targets, weights, reference, admitted_KT)
        self._direction_KICHW[list(labels)] = balanced.direction
        self._collected.update(labels)
        return BalanceRecord(
            labels,
            balanced.magnitudes_KT.numpy(),
            balanced.weights_KT.numpy(),
            balanced.shares_KT.numpy(),
            balanced.norms_KT.numpy(),
            balanced.entered_KT.numpy(),
        )

    def apply(self, plan: StepPlan) -> tuple[Snapshot, tuple[int, ...]]:
        """Apply the step to the images, once every class has been collected; returns the new images, and the classes held back
        because their images would not have stayed finite.

        Raises:
            RuntimeError: another version, or a class is missing.
        """
        check_version("a step", plan.version, self.images.version)
        missing = len(self._direction_KICHW) - len(self._collected)
        if missing:
            raise RuntimeError(f"step {plan.version} has no gradient for {missing} of {len(self._direction_KICHW)} classes")
        held = self.images.apply(self._direction_KICHW)
        self._collected.clear()
        return self.snapshot(), held

    def save(self, version: int, names: tuple[str, ...], *states: State) -> None:
        """Save a checkpoint: the server's own state and others.

        Args:
            version: the version that the images must be at.
            names: whose the other states are.
            states: in the same order.
        """
        check_version("a checkpoint", version, self.images.version)
        self.checkpoints.save(version, {SERVER: self.state(), **dict(zip(names, states, strict=True))}, self.identity)

    def saved(self, version: int, name: str) -> State:
        """The state of the server (``server``), or another one by its name, in a checkpoint."""
        return self.checkpoints.load(version)[name]

    def state(self) -> State:
        """Images, momentum, history of the balance, and running means of the losses."""
        arrays = {
            "images": self.images.images_KICHW.numpy().copy(),
            "momentum": self.images.momentum_KICHW.numpy().copy(),
            "history": self.balance.history_KT.numpy().copy(),
            "losses": self.spikes.means_KT.numpy().copy(),
        }
        return State(arrays, {"version": self.images.version})

    def restore(self, state: State, with_balance: bool) -> None:
        """Continue from a state; within an iteration, call after its :meth:`begin`.

        Args:
            state: as :meth:`state` gave it.
            with_balance: also from what it knows of the targets, which are the same; else balance and guard start anew.
        """
        self.images.images_KICHW = torch.tensor(state.arrays["images"])
        self.images.momentum_KICHW = torch.tensor(state.arrays["momentum"])
        self.images.version = state.values["version"]
        if with_balance:
            self.balance.history_KT = torch.tensor(state.arrays["history"])
            self.spikes.means_KT = torch.tensor(state.arrays["losses"])
        self._collected.clear()  # of a step that was not finished

    def _mean(self, batch: Sequence[Array]) -> Array:
        assert self.agreement is not None
        return self.agreement.consensus([torch.tensor(array) for array in batch]).numpy()


def _sum(arrays: Sequence[Array]) -> torch.Tensor:
    total = torch.tensor(arrays[0])
    for array in arrays[1:]:
        total += torch.tensor(array)
    return total
