"""The reference for split gradients: every member in one autograd graph, written without the code
that it checks.

It shares with the package only what defines the problem: networks and their taps, keys, decoding,
augmentation. Features are aligned, compared (pair by pair, token by token) and differentiated here.
B images of a batch, L layers, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hmdc_ray.config import RunConfig
from hmdc_ray.data.augment import draw
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import decode
from hmdc_ray.exchange.messages import Gradients, Snapshot, State
from hmdc_ray.exchange.protocols import Pool
from hmdc_ray.exchange.schedule import StepPlan, total_steps
from hmdc_ray.exchange.step_records import StepRecord
from hmdc_ray.models import Network, Tap, build
from hmdc_ray.run.coordinator import Coordinator
from hmdc_ray.seeding import Key

Layer = tuple[Tensor, Tensor | None]
"""Semantic token (B, D), and spatial tokens (B, tokens, D) if there are any."""


@dataclass(frozen=True)
class JointMember:
    """A network, and the affine maps (weight, bias) and layer mixture of its aligner.

    Where features are standardised, means (layers, tokens, channels) and the scale of each layer,
    or "batch": its own.
    """

    network: Network
    affine: list[tuple[Tensor, Tensor]]
    mixing: Tensor | None
    standard: tuple[Tensor, Tensor] | str | None = None


@dataclass(frozen=True)
class Targets:
    """Gradients with respect to the images: one per member, and of the distillation target, all as
    the images."""

    members: list[Tensor]
    distillation: Tensor | None


def joint_targets(
    metric: str, members: Sequence[JointMember], images: Tensor, synthetic: Tensor, real: Tensor, label: int, distil: bool
) -> Targets:
    """All targets of one class.

    Args:
        metric: ``mse``, ``cosine`` or ``l1``.
        members: in the order of the pool.
        images: the leaf.
        synthetic: the batch made from it, (B, C, H, W).
        real: the real batch, (B, C, H, W).
        label: the class of both batches.
        distil: whether there is a distillation target.
    """
    own = [_differentiate(_classification(metric, member.network, synthetic, real, label), images) for member in members]
    if not distil:
        return Targets(own, None)
    parameters = [list(member.network.parameters()) for member in members]
    flat = [parameter for some in parameters for parameter in some]
    found_real = torch.autograd.grad(disagreement(members, real), flat, allow_unused=True)
    found = torch.autograd.grad(disagreement(members, synthetic), flat, create_graph=True, allow_unused=True)
    loss = torch.stack([(r - s).square().sum() for r, s in zip(found_real, found, strict=True) if r is not None]).sum()
    return Targets(own, _differentiate(loss, images))


def disagreement(members: Sequence[JointMember], batch: Tensor) -> Tensor:
    """L_MD of a batch: over tokens that two or more members have, the mean of the mean squared
    difference of their pairs."""
    taps = [tap for member in members for tap in member.network.taps]
    spatial = [tap for tap in taps if tap.kind != "vector"]
    layers = min(len(member.network.taps) for member in members)
    channels = min(tap.channels for tap in taps)
    size = (min((tap.height for tap in spatial), default=0), min((tap.width for tap in spatial), default=0))
    aligned = [_standardised(member, _align(member, batch, layers, size)) for member in members]
    total, elements = batch.new_zeros(()), 0
    for layer in range(layers):
        for tokens in ([parts[layer][0] for parts in aligned], [parts[layer][1] for parts in aligned]):
            present = [token for token in tokens if token is not None]
            if len(present) < 2:
                continue
            pairs = [(first - second).square().sum() for first, second in combinations(present, 2)]
            total = total + torch.stack(pairs).mean()
            elements += present[0].numel()
            assert present[0].shape[-1] == channels
    return total / elements


def _standardised(member: JointMember, rows: list[Layer]) -> list[Layer]:
    """Every feature less its mean over images, divided by the deviation of its layer."""
    if member.standard is None:
        return rows
    made: list[Layer] = []
    for layer, (semantic, spatial) in enumerate(rows):
        tokens = [semantic, *(() if spatial is None else spatial.unbind(1))]
        if isinstance(member.standard, str):
            variance = torch.cat([token.var(0, unbiased=False) for token in tokens]).mean()
            square = torch.cat([token.square().mean(0) for token in tokens]).mean()
            scale = (variance + 1e-8 * square).sqrt()
            tokens = [(token - token.mean(0)) / scale for token in tokens]
        else:
            mean, scale = member.standard
            tokens = [(token - mean[layer, index]) / scale[layer] for index, token in enumerate(tokens)]
        made.append((tokens[0], None if spatial is None else torch.stack(tokens[1:], dim=1)))
    return made


def _align(member: JointMember, batch: Tensor, layers: int, size: tuple[int, int]) -> list[Layer]:
    features = member.network.observe(batch).features
    rows = [_tokens(*row, size) for row in zip(features, member.network.taps, member.affine, strict=True)]
    if len(rows) == layers:
        return rows
    assert member.mixing is not None
    mixed: list[Layer] = []
    for scores in member.mixing:
        powers = [scores[source].exp() for source in range(len(rows))]
        semantic = torch.stack([power * row[0] for power, row in zip(powers, rows, strict=True)]).sum(0)
        with_map = [(power, row[1]) for power, row in zip(powers, rows, strict=True) if row[1] is not None]
        spatial = None
        if with_map:
            weighted = [power * tokens for power, tokens in with_map]
            spatial = torch.stack(weighted).sum(0) / torch.stack([power for power, _ in with_map]).sum()
        mixed.append((semantic / torch.stack(powers).sum(), spatial))
    return mixed


def _tokens(feature: Tensor, tap: Tap, affine: tuple[Tensor, Tensor], size: tuple[int, int]) -> Layer:
    weight, bias = affine
    if tap.kind == "vector":
        return feature @ weight.T + bias, None
    if tap.kind == "map":
        semantic, grid = feature.flatten(2).mean(2), feature
    else:
        semantic = feature[:, 0]
        grid = feature[:, 1:].reshape(len(feature), tap.height, tap.width, tap.channels).permute(0, 3, 1, 2)
    resized = F.adaptive_avg_pool2d(grid, size)
    spatial = torch.stack([resized[:, :, y, x] @ weight.T + bias for y in range(size[0]) for x in range(size[1])], dim=1)
    return semantic @ weight.T + bias, spatial


def _classification(metric: str, network: Network, synthetic: Tensor, real: Tensor, label: int) -> Tensor:
    parameters = list(network.parameters())

    def gradient(batch: Tensor, create_graph: bool) -> tuple[Tensor, ...]:
        loss = -network(batch).log_softmax(1)[:, label].mean()
        return torch.autograd.grad(loss, parameters, create_graph=create_graph)

    total = synthetic.new_zeros(())
    for r, s in zip(gradient(real, False), gradient(synthetic, True), strict=True):
        if metric == "mse":
            total = total + ((r - s) ** 2).sum()
        elif metric == "l1":
            total = total + (r - s).abs().sum()
        elif r.dim() > 1:
            for row_r, row_s in zip(r.flatten(1), s.flatten(1), strict=True):
                total = total + 1 - row_r @ row_s / (row_r.norm() * row_s.norm() + 1e-6)
    return total


def _differentiate(loss: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
    return gradient


# The same for a step of a whole run


@dataclass(frozen=True)
class StepGradients:
    """Gradients of a step with respect to the images of all classes, (K, I, C, H, W), and the
    images before and after it."""

    members: list[NDArray[Any]]
    distillation: NDArray[Any] | None
    before: NDArray[Any]
    after: NDArray[Any]


class RecordingPool:
    """A pool that keeps what is sent to its server, for real actors and for plain objects.

    Attributes:
        agreed: features of all members and their consensus, of each consensus in order.
        collected: gradients of all members, of each chunk of classes in order.
    """

    def __init__(self, pool: Pool) -> None:
        self.agreed: list[Any] = []
        self.collected: list[Any] = []
        self.workers = pool.workers
        self.get = pool.get
        self.keep = pool.keep
        self.heal = pool.heal
        self.server: Any = _RecordingServer(pool.server, self)


class _RecordingServer:
    def __init__(self, server: Any, kept: RecordingPool) -> None:
        self._server = server
        self._kept = kept

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._server, verb)

    def consensus(self, plan: StepPlan, labels: tuple[int, ...], *features: Any) -> Any:
        formed = self._server.consensus(plan, labels, *features)
        self._kept.agreed.append((*features, formed))
        return formed

    def balance_gradients(self, plan: StepPlan, labels: tuple[int, ...], *gradients: Any) -> Any:
        self._kept.collected.append(gradients)
        return self._server.balance_gradients(plan, labels, *gradients)


def joint_and_split(config: RunConfig, pool: Pool, dataset: ImageDataset) -> tuple[StepGradients, StepGradients]:
    """Run all steps of a run; return the gradients of the last one from one joint graph, and as the
    pool made them.

    There must be a step before it, whose training takes aligners and layer mixtures away from where
    they start.
    """
    recording = RecordingPool(pool)
    classes, train_images = len(dataset.info.class_names), dataset.info.sizes["train"]
    coordinator = Coordinator(config, recording, classes=classes, train_images=train_images)
    last = total_steps(config.schedule) - 1
    assert last > 0
    joint: list[StepGradients] = []
    split: list[StepGradients] = []

    def after_step(record: StepRecord) -> None:
        version = record.plan.version + 1
        if version == last:
            states = recording.get([worker.state() for worker in recording.workers])
            joint.append(joint_step(config, dataset, coordinator.plan(version), states, recording.get([record.snapshot])[0]))
            recording.collected.clear()
        if version == last + 1:
            (after,) = recording.get([record.snapshot])
            calls = [recording.get(parts) for parts in recording.collected]
            split.append(_together(calls, len(recording.workers), joint[0].before, after.images_KICHW))

    coordinator.run(0, after_step)
    return joint[0], split[0]


def _together(calls: list[list[Any]], members: int, before: NDArray[Any], after: NDArray[Any]) -> StepGradients:
    """Put the chunks of a step together, and the parts of the distillation target."""
    own: list[list[NDArray[Any]]] = [[] for _ in range(members)]
    distillation = []
    for parts in calls:
        shared: NDArray[Any] | float = 0.0
        for position, part in enumerate(parts):
            assert isinstance(part, Gradients)
            own[position].append(part.classification_KICHW)
            shared = shared + (0.0 if part.distillation_KICHW is None else part.distillation_KICHW)
        distillation.append(shared)
    whole = None if isinstance(distillation[0], float) else np.concatenate(distillation)
    return StepGradients([np.concatenate(chunks) for chunks in own], whole, before, after)


def joint_step(
    config: RunConfig, dataset: ImageDataset, plan: StepPlan, states: Sequence[State], snapshot: Snapshot
) -> StepGradients:
    """The gradients of a step from one joint graph, with the weights in ``states``; random sampler,
    no BatchNorm."""
    matching, info = config.matching, dataset.info
    members = [joint_member(config, dataset, index, state) for index, state in enumerate(states)]
    distil = matching.mutual_distillation and len(members) > 1
    own: list[list[Tensor]] = [[] for _ in members]
    distillation = []
    for label in range(len(info.class_names)):

        def key(stream: Any, label: int = label) -> Key:
            return Key(config.seed, stream, iteration=plan.iteration, step=plan.step, label=label)

        rows = dataset.class_rows("train", label)
        rows = rows[key("real_images").numpy().permutation(len(rows))[: matching.real_batch]]
        generator = key("augmentation").generator()
        shape, float64 = info.shape, torch.float64
        augment = draw(matching.augmentation, matching.families, shape.height, shape.width, generator, dtype=float64)
        images = torch.tensor(snapshot.images_KICHW[label], requires_grad=True)
        decoded = decode(images, config.images.formation)
        if len(decoded) > matching.real_batch:
            decoded = decoded[key("decoded_images").numpy().permutation(len(decoded))[: matching.real_batch]]
        real = augment(dataset.normalised("train", rows, float64))
        targets = joint_targets(matching.metric, members, images, augment(decoded), real, label, distil)
        for gradients, gradient in zip(own, targets.members, strict=True):
            gradients.append(gradient)
        if targets.distillation is not None:
            distillation.append(targets.distillation)
    whole = torch.stack(distillation).numpy() if distil else None
    stacked = [torch.stack(classes).numpy() for classes in own]
    direction = sum(stacked) + (0.0 if whole is None else whole)
    assert config.balance.mode == "none" and config.images.normalise == "none" and config.images.momentum == 0
    after = snapshot.images_KICHW - config.images.learning_rate * direction
    return StepGradients(stacked, whole, snapshot.images_KICHW, after)


def joint_member(config: RunConfig, dataset: ImageDataset, index: int, state: State) -> JointMember:
    member, info = config.pool.members[index], dataset.info
    network = build(member.architecture, member.options, info.shape, len(info.class_names), Key(0, "network")).double()
    arrays = {name: torch.tensor(values) for name, values in state.arrays.items()}
    network.load_state_dict(
        {name.removeprefix("network/"): value for name, value in arrays.items() if name.startswith("network/")}
    )
    if "aligner/affine.0.weight" not in arrays:
        return JointMember(network, [], None)
    names = [f"aligner/affine.{tap}" for tap in range(len(network.taps))]
    affine = [(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names]
    standard = None
    if config.matching.agreement == "standardised":
        standard = arrays["aligner/standard.mean_LTD"], arrays["aligner/standard.scale_L"]
    return JointMember(network, affine, arrays.get("aligner/mixing"), standard)


def relative_error(found: NDArray[Any] | Tensor, expected: NDArray[Any] | Tensor) -> float:
    """Largest difference, relative to the largest expected entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    return float(np.abs(found - expected).max() / np.abs(expected).max())
