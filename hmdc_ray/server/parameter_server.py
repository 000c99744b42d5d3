"""The parameter server: holds the synthetic images, forms the consensus, balances and applies
updates. A plain class.

Shapes: K classes, I stored images per class, C x H x W an image; N members drawn; B images of a
batch, L layers, T tokens, D channels of aligned features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hmdc_ray.config import BalanceConfig, ImagesConfig
from hmdc_ray.exchange.messages import (
    Array,
    BalanceRecord,
    Cotangents,
    Features,
    Gradients,
    MemberTaps,
    Snapshot,
    State,
    check_version,
    join,
)
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.tensors import add_all, shared, view, zeros, zeros_on_disk
from hmdc_ray.matching.distillation import Agreement, RunningConsensus
from hmdc_ray.matching.sizes import gradient_sizes
from hmdc_ray.matching.ssd import common_size, token_mask
from hmdc_ray.server.balance import GradientBalance
from hmdc_ray.server.checkpoint import SERVER, CheckpointFolder
from hmdc_ray.server.images import SyntheticImages
from hmdc_ray.server.spikes import SpikeGuard


class ParameterServer:
    """Synthetic images and the balance of targets, for all classes or, as one of several shards,
    for some.

    Sums run in the order of members in the pool, never in order of arrival, so that the same step
    gives the same bits.

    Args:
        initial_KICHW: images of the server's own classes before the first step, normalised; read in
            place.
        mean: mean of the data per channel, on the scale [0, 1].
        std: standard deviation of the data per channel, on the scale [0, 1].
        images: settings of the images' optimiser.
        balance: settings of the balance of targets.
        loss_weights: lambda of every pool member.
        main: position of the main member in the pool.
        threads: torch threads of the server's process.
        checkpoints: folder in which states are saved.
        identity: configuration and data that a run resumed from a checkpoint must share with this
            one.
        first: label of the first of the server's classes; their labels are consecutive.
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
        first: int = 0,
    ) -> None:
        torch.set_num_threads(threads)
        self.images = SyntheticImages(view(initial_KICHW), mean, std, images)
        lasting = len(loss_weights) + 1 if balance.scope == "run" else None  # of every member, and of the distillation target
        self.balance = GradientBalance(balance.mode, balance.period, len(initial_KICHW), lasting, main)
        self.spikes = SpikeGuard(balance.spike_factor, classes=len(initial_KICHW))
        self.distillation_weight = balance.distillation_weight
        self.loss_weights = tuple(loss_weights)
        self.main = main
        self.checkpoints = checkpoints
        self.identity = identity
        self.first = first
        self.agreement: Agreement | None = None
        self._direction_KICHW = zeros_on_disk(self.images.images_KICHW)
        self._collected: set[int] = set()
        self._sums = _Sums()

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[MemberTaps]) -> None:
        """Start an iteration: forget a history that does not last, and learn which tokens each
        member drawn has.

        Args:
            iteration: number of the iteration, from 0.
            members: positions in the pool of the members drawn.
            drawn: taps of the members drawn, in their order; empty without mutual distillation.
        """
        self._sums = _Sums()
        self.agreement = None
        if drawn:
            size = common_size([member.taps for member in drawn])
            self.agreement = Agreement([token_mask(member.taps, size) for member in drawn])
        self.balance.begin([*members, *[len(self.loss_weights)] * bool(drawn)])
        self.spikes.reset(len(members) + bool(drawn))

    def renewed(self, position: int) -> None:
        """Drop what is known of the member at this position among those drawn: its weights are
        fresh."""
        self.spikes.forget(position)

    def snapshot(self) -> Snapshot:
        """The images with their version; a shard's are those of its classes, see :meth:`joined`."""
        return Snapshot(self.images.version, shared(self.images.images_KICHW))

    def add_features(self, plan: StepPlan, first: int, *features: Features) -> None:
        """Add the next members' features to the consensus, in the order of the pool; they are not
        needed afterwards.

        Args:
            plan: the step.
            first: position of the first of these members among those drawn. 0 starts the sums anew:
                if a member was lost, those of the exchange before were never completed.
            features: features of each of these members, one array (B, L, T, D) per batch.
        """
        for part in features:
            check_version("a feature", part.version, plan.version)
        assert self.agreement is not None
        if first == 0:
            self._sums = _Sums(consensus=[RunningConsensus(self.agreement) for _ in features[0].batches])
        batches = zip(*(part.batches for part in features), strict=True)
        finite = zip(*(part.finite for part in features), strict=True)
        for running, of_members, are_finite in zip(self._sums.consensus, batches, finite, strict=True):
            running.add([view(batch) for batch in of_members], are_finite)

    def form_consensus(self, plan: StepPlan, *_: None) -> Features:
        """Mean over members of the features added, (B, L, T, D) per batch.

        A member whose features of a batch are not finite is left out of that batch's mean.

        Args:
            plan: the step.
            _: results of the calls that added, where they went through Ray: if one of them failed,
                so does this one.
        """
        formed, self._sums = self._sums.consensus, _Sums()
        return Features(plan.version, tuple(running.mean().numpy() for running in formed))

    def add_cotangents(self, plan: StepPlan, first: int, *cotangents: Cotangents) -> None:
        """Add the next members' cotangents of the consensus, in the order of the pool; they are not
        needed afterwards.

        Args:
            plan: the step.
            first: position of the first of these members among those drawn; 0 starts the sums anew.
            cotangents: cotangents of each of these members, one array (B, L, T, D) per class of the
                chunk.
        """
        if first == 0:
            empty_BLTD = [zeros(view(batch)) for batch in cotangents[0].batches]
            self._sums = _Sums(cotangents=empty_BLTD, labels=cotangents[0].labels)
        for part in cotangents:
            check_version("a cotangent", part.version, plan.version)
            _check_labels(part.labels, self._sums.labels)
        for total_BLTD, *batches in zip(self._sums.cotangents, *(part.batches for part in cotangents), strict=True):
            add_all(total_BLTD, [view(batch) for batch in batches])

    def mean_cotangents(self, plan: StepPlan, *_: None) -> Cotangents:
        """Each member's share of the cotangents, (B, L, T, D) per class: their sum divided by how
        many have the token.

        The arguments are those of :meth:`form_consensus`.
        """
        assert self.agreement is not None
        sums, self._sums = self._sums, _Sums()
        # dFbar/dF_i = 1 / n: the chain rule through the mean is the mean itself.
        means_BLTD = (self.agreement.mean(total_BLTD) for total_BLTD in sums.cotangents)
        return Cotangents(plan.version, sums.labels, tuple(mean_BLTD.numpy() for mean_BLTD in means_BLTD))

    def add_gradients(self, plan: StepPlan, first: int, *parts: Gradients) -> None:
        """Add the next members' gradients to the balance, in the order of the pool; they are not
        needed afterwards.

        Args:
            plan: the step.
            first: position of the first of these members among those drawn; 0 opens a chunk of
                classes.
            parts: gradients of each of these members, (K, I, C, H, W).
        """
        factors = []
        for position, part in enumerate(parts, first):
            check_version("a gradient", part.version, self.images.version)
            rows = self._rows(part.labels)
            if position == 0:
                self._sums = _Sums(labels=part.labels)
                self.balance.open(plan.step, rows)
            _check_labels(part.labels, self._sums.labels)
            admitted_K = self.spikes.admits(rows, position, part.classification_losses)
            weight = self.loss_weights[plan.members[position]]
            factors.append(self.balance.weigh(part.sizes, weight, admitted_K))
            if part.distillation_KICHW is not None:
                losses = zip(self._sums.losses, part.distillation_losses, strict=True)
                self._sums.losses = tuple(map(sum, losses)) if position else part.distillation_losses
        self.balance.add([view(part.classification_KICHW) for part in parts], factors)
        distillation = [part.distillation_KICHW for part in parts if part.distillation_KICHW is not None]
        # The members' parts of dL_F/dS are summed before the balance measures it: L_F is one target
        # of the whole pool.
        if distillation:
            if self._sums.distillation_KICHW is None:
                self._sums.distillation_KICHW = zeros(view(distillation[0]))
            add_all(self._sums.distillation_KICHW, [view(part_KICHW) for part_KICHW in distillation])

    def balance_chunk(self, plan: StepPlan, *_: None) -> BalanceRecord:
        """Balance the targets of the chunk whose gradients were added, and keep its direction until
        :meth:`apply`.

        The arguments are those of :meth:`form_consensus`.
        """
        sums, self._sums = self._sums, _Sums()
        labels = sums.labels
        if sums.distillation_KICHW is not None:
            admitted_K = self.spikes.admits(self._rows(labels), len(plan.members), sums.losses)
            factors_K = self.balance.weigh(gradient_sizes(sums.distillation_KICHW), self.distillation_weight, admitted_K)
            self.balance.add([sums.distillation_KICHW], [factors_K])
        reference = plan.members.index(self.main) if self.main in plan.members else 0
        balanced = self.balance.close(reference)
        self._direction_KICHW[self._rows(labels)] = balanced.direction_KICHW
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
        """Apply the step to the images, once every class has been balanced.

        Returns:
            The new images, and the labels of classes skipped because their images would not have
            stayed finite.

        Raises:
            RuntimeError: the plan is of another image version, or a class is missing.
        """
        check_version("a step", plan.version, self.images.version)
        missing = len(self._direction_KICHW) - len(self._collected)
        if missing:
            raise RuntimeError(f"step {plan.version} has no gradient for {missing} of {len(self._direction_KICHW)} classes")
        direction_KICHW, self._direction_KICHW = self._direction_KICHW, zeros_on_disk(self._direction_KICHW)
        skipped = self.images.apply(direction_KICHW)
        self._collected.clear()
        return self.snapshot(), tuple(self.first + row for row in skipped)

    joined = staticmethod(join)  # of the results of all shards; one of them does it for all

    def save(self, version: int, names: tuple[str, ...], *states: State) -> None:
        """Save a checkpoint.

        Args:
            version: image version that the states must be of.
            names: owner of each state; ``server`` is the server's own, of all shards.
            states: states of the server, of the members, and of the pool's health, in the order of
                their owners.

        Raises:
            RuntimeError: the server's state is of another version.
            InputError: a file cannot be written.
        """
        found = dict(zip(names, states, strict=True))
        check_version("a checkpoint", version, found[SERVER].values["version"])
        self.checkpoints.save(version, found, self.identity)

    def saved(self, version: int, name: str) -> State:
        """The state of one owner in a checkpoint, such as ``server``."""
        return self.checkpoints.load(version)[name]

    def state(self) -> State:
        """Images, momentum, history of the balance, and running means of the losses."""
        arrays = {
            "images": shared(self.images.images_KICHW),
            "momentum": shared(self.images.momentum_KICHW),
            "history": self.balance.history_KT.numpy().copy(),
            "losses": self.spikes.means_KT.numpy().copy(),
        }
        return State(arrays, {"version": self.images.version})

    def restore(self, state: State, with_balance: bool) -> None:
        """Resume from a state; within an iteration, call after its :meth:`begin`.

        Args:
            state: state of all classes, as :meth:`state` returned it; read in place.
            with_balance: whether the targets are the same, so that the state's history and running
                losses apply to them; if not, the guard starts anew, and so does a history that does
                not last.
        """
        own = slice(self.first, self.first + len(self._direction_KICHW))
        self.images.images_KICHW = view(state.arrays["images"][own])
        self.images.momentum_KICHW = view(state.arrays["momentum"][own])
        self.images.version = state.values["version"]
        if with_balance or self.balance.lasts:
            self.balance.history_KT = torch.tensor(state.arrays["history"][own])
        if with_balance:
            self.spikes.means_KT = torch.tensor(state.arrays["losses"][own])
        self._collected.clear()  # of a step that was not finished
        self._sums = _Sums()

    def _rows(self, labels: Sequence[int]) -> list[int]:
        """Rows of classes in the server's arrays."""
        return [label - self.first for label in labels]


@dataclass
class _Sums:
    """Sums over members in progress.

    Attributes:
        consensus: running mean of each batch of features.
        cotangents: sum of each batch's cotangents, (B, L, T, D).
        distillation_KICHW: gradient of the distillation target; None before the first part.
        losses: value of the distillation target in each class.
        labels: classes of the chunk.
    """

    consensus: list[RunningConsensus] = field(default_factory=list)
    cotangents: list[Tensor] = field(default_factory=list)
    distillation_KICHW: Tensor | None = None
    losses: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()


def _check_labels(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse a message of another chunk of classes.

    Raises:
        RuntimeError: the classes differ; the message holds both.
    """
    if found != expected:
        raise RuntimeError(f"a message has classes {found}, but the chunk has {expected}")
