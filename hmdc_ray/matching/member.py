"""One pool member: its network, its aligner, and its optimisers, from the start of an iteration to
the next.

Shapes: B images of a batch, C x H x W an image, K classes; L layers, T tokens, D channels of
aligned features.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from hmdc_ray.config import ImagesConfig, MatchingConfig, MemberConfig, ScheduleConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.reader import Reader
from hmdc_ray.exchange.messages import Array, Features, MemberTaps, Selection, State, check_version
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.tensors import all_finite, view
from hmdc_ray.matching.batches import Batches
from hmdc_ray.matching.distillation import Agreement
from hmdc_ray.matching.ssd import Aligner, common_size, token_mask
from hmdc_ray.models.batchnorm import freeze_batchnorm, has_batchnorm
from hmdc_ray.models.optimisers import SGD, Adam
from hmdc_ray.models.precision import matrix_dtype, storage_dtype
from hmdc_ray.models.registry import build_section
from hmdc_ray.seeding import Key, Stream, forked
from hmdc_ray.system.timing import Clock
from hmdc_ray.system.transfer import to_device, to_host


class Member:
    """A pool member.

    Args:
        index: position in the pool.
        seed: the run's seed.
        config: the member's network and learning rate.
        matching: settings of the matching: sampler, augmentation, metric, precision.
        schedule: training of the network and of the aligner.
        images: formation and initialisation of the synthetic images.
        dataset: the decoded data.
        device: device of the network and of its batches.

    Raises:
        InputError: the architecture, an option, or a tap does not exist or does not fit the images.
    """

    def __init__(
        self,
        *,
        index: int,
        seed: int,
        config: MemberConfig,
        matching: MatchingConfig,
        schedule: ScheduleConfig,
        images: ImagesConfig,
        dataset: ImageDataset,
        device: torch.device,
    ) -> None:
        self.index = index
        self.seed = seed
        self.config = config
        self.matching = matching
        self.schedule = schedule
        self.images = images
        self.device = device
        self.batches = Batches(seed, Reader(dataset, device, storage_dtype(matching.precision)), matching, images.formation)
        self.clock = Clock()
        self.selection: tuple[np.ndarray, ...] | None = None
        self.aligner: Aligner | None = None
        self.agreement: Agreement | None = None
        self.position = 0
        self.agreed: dict[str, float] = {}
        self._prepared: tuple[int, int] | None = None
        self._build(iteration=0)

    # Start of a run and of an iteration

    def initial_images(self) -> Array:
        """Synthetic images before the first step, (K, I, C, H, W), made with this member freshly
        initialised."""
        self._build(iteration=0)
        self.network.eval()
        return self.batches.initial_images(self.images, self.network).numpy()

    def begin(self, iteration: int, options: Mapping[str, Any] | None = None) -> MemberTaps:
        """Replace the network by a fresh one, and its optimiser with it.

        Args:
            iteration: number of the iteration, from 0.
            options: options in the place of the random options drawn for the iteration.
        """
        self._build(iteration, options)
        self._prepared = None
        self.selection = None
        self.aligner = self.agreement = None
        self.agreed = {}
        return self.taps

    @property
    def taps(self) -> MemberTaps:
        """The network that is hosted now."""
        return MemberTaps(self.config.name, self.network.taps, self.options)

    def align(self, iteration: int, drawn: Sequence[MemberTaps]) -> None:
        """Make a fresh aligner to the common size of the members drawn; call after :meth:`begin`.

        Args:
            iteration: number of the iteration, from 0.
            drawn: taps of the members drawn, in the order of the pool, this one among them.
        """
        size = common_size([member.taps for member in drawn])
        self.agreement = Agreement([token_mask(member.taps, size) for member in drawn], self.device)
        self.position = [member.name for member in drawn].index(self.config.name)
        with forked(self.key("aligner", iteration)):
            aligner = Aligner(self.network.taps, size, self.matching.resize, self.matching.agreement == "standardised")
        self.aligner = aligner.to(self.device, self.batches.dtype).eval()
        self.aligner_optimiser = Adam(self.aligner.parameters(), lr=self.schedule.aligner_learning_rate)

    # One step

    def choose(self, plan: StepPlan) -> Selection:
        """Choose real images of every class by k-means on this member's embedding."""
        self.prepare(plan)
        self.network.eval()
        with self.clock.phase("kmeans"):
            key = Key(self.seed, "kmeans", iteration=plan.iteration, step=plan.step)
            keys = [replace(key, label=label) for label in range(len(self.batches.dataset.info.class_names))]
            rows = self.batches.choose(self.network, keys, self.matching.real_batch)
        self.matching_mode()
        return Selection(plan.version, tuple(rows))

    def select(self, plan: StepPlan, selection: Selection) -> None:
        """Use these real images from this step on; an empty selection means a new random draw in
        every step."""
        check_version("a selection of real images", selection.version, plan.version)
        self.selection = selection.rows or None

    def current_selection(self, plan: StepPlan) -> Selection:
        """The real images that this member uses, for a member that joins in this step."""
        return Selection(plan.version, self.selection or ())

    # State

    def state(self) -> State:
        """Everything that the next step needs and a fresh start of the iteration does not
        provide."""
        tensors = _named("network", self.network.state_dict())
        if self.aligner is not None:
            tensors |= _named("aligner", self.aligner.state_dict())
            for index, moments in self.aligner_optimiser.state_dict()["state"].items():
                tensors |= _named(f"aligner_optimiser/{index}", moments)
        arrays = _copies(tensors)
        arrays |= {f"agreed/{name}": np.array(value) for name, value in self.agreed.items()}
        for label, rows in enumerate(self.selection or ()):
            arrays[f"selection/{label}"] = rows
        return State(arrays)

    def restore(self, state: State) -> None:
        """Continue from a state; call after :meth:`begin` and :meth:`align` of its iteration.

        Where a member has left since, the common size may be another one: the aligner is a fresh
        one then.
        """
        names = ("network", "aligner", "aligner_optimiser", "agreed", "selection")
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for name, array in state.arrays.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = torch.from_numpy(np.array(array))
        self.network.load_state_dict(groups["network"])
        if self.aligner is not None and _shapes(self.aligner.state_dict()) == _shapes(groups["aligner"]):
            self.aligner.load_state_dict(groups["aligner"])
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in groups["aligner_optimiser"].items():
                index, _, moment = name.partition("/")
                moments.setdefault(int(index), {})[moment] = value
            self.aligner_optimiser.load_state_dict({**self.aligner_optimiser.state_dict(), "state": moments})
        # A member that is left alone agrees with nobody.
        self.agreed = {name: float(value) for name, value in groups["agreed"].items()} if self.aligner is not None else {}
        rows = groups["selection"]
        self.selection = tuple(rows[str(label)].numpy() for label in range(len(rows))) or None

    # Parts

    def _build(self, iteration: int, drawn: Mapping[str, Any] | None = None) -> None:
        """Build the network of an iteration with new weights, and a new optimiser over these very
        parameters."""
        info = self.batches.dataset.info
        if drawn is None:
            drawn = draw_options(self.config.random_options, self.key("options", iteration))
        self.options = dict(drawn)
        options = {**self.config.options, **self.options}
        key = self.key("network", iteration)
        network = build_section(self.config, info.shape, len(info.class_names), key, info.normalisation, options)
        self.network = network.to(self.device, self.batches.dtype)
        self.network.matrix_dtype = matrix_dtype(self.matching.precision)
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimiser = SGD(self.parameters, lr=self.config.learning_rate)

    def prepare(self, plan: StepPlan) -> None:
        """Once per step: take BatchNorm statistics from real images, then freeze them for the
        matching (DC)."""
        if self._prepared == (plan.iteration, plan.step):
            return
        self._prepared = (plan.iteration, plan.step)
        if has_batchnorm(self.network):
            self.network.train()
            with torch.no_grad(), forked(self.key("batchnorm", plan.iteration, plan.step)):
                self.network(self.batches.statistics_images(plan))
        self.matching_mode()

    def matching_mode(self) -> None:
        """Training mode, but with the statistics of BatchNorm as they are."""
        self.network.train()
        freeze_batchnorm(self.network, True)

    def key(self, stream: Stream, iteration: int, step: int = 0, label: int = 0, batch: int = 0) -> Key:
        """A key of this member."""
        return Key(self.seed, stream, self.index, iteration, step, label, batch)

    def observe(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (B, K), and aligned features (B, L, T, D) if there is an aligner."""
        if self.aligner is None:
            return self.network(images_BCHW), None
        observation = self.network.observe(images_BCHW)
        return observation.logits_BK, self.aligner(observation.features)

    def agreement_loss(self, features_BLTD: Tensor, consensus_BLTD: Array) -> Tensor:
        """This member's term of L_MD, a scalar; see :meth:`Agreement.loss`."""
        assert self.agreement is not None
        (arrived_BLTD,) = self.arrived([consensus_BLTD])
        return self.agreement.loss(self.position, features_BLTD, self.tensor(arrived_BLTD))

    def descend(self, optimiser: torch.optim.Optimizer, parameters: Sequence[Parameter], loss: Tensor) -> None:
        """One step of an optimiser on a scalar loss; other parameters get no gradient."""
        # Not backward(): a network's training on L_MD must not accumulate into the aligner's
        # parameters.
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        optimiser.zero_grad()

    def arrived(self, arrays: Sequence[Array]) -> list[Tensor]:
        """Arrays of a message, of any shapes, on this member's device, in one copy; to be used by
        :meth:`tensor`."""
        return to_device(list(map(view, arrays)), self.device)

    def tensor(self, arrived: Tensor) -> Tensor:
        """One of the tensors that arrived, in this member's number format."""
        # On the CPU a copy: what comes out of the object store is read-only, and not aligned as
        # torch's own memory is.
        copied, whole = self.device.type == "cpu", torch.contiguous_format
        return arrived.to(self.batches.dtype, copy=copied, memory_format=whole)


def draw_options(choices: Mapping[str, Sequence[Any]], key: Key) -> dict[str, Any]:
    """One value of every option, each with equal probability; an option's draw does not depend on
    the other options."""
    drawn = {}
    for name, values in choices.items():
        generator = replace(key, label=zlib.crc32(name.encode())).numpy()
        drawn[name] = values[int(generator.integers(len(values)))]
    return drawn


def option_draws(choices: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options as they may be drawn, with a note for errors: the first values, then every other
    value by itself."""
    first = {name: values[0] for name, values in choices.items()}
    yield "", first
    for name, values in choices.items():
        for value in values[1:]:
            yield f" with random_options.{name} {value!r}", {**first, name: value}


def features_message(version: int, batches: Sequence[Tensor]) -> Features:
    """Aligned features of several batches, (B, L, T, D) each, as a message."""
    batches = to_host(batches)
    return Features(version, tuple(batch.numpy() for batch in batches), tuple(map(all_finite, batches)))


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _named(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for name, tensor in tensors.items()}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors as arrays of their own; those on a device come from it together. (Adam counts its
    steps on the CPU.)"""
    away = {name: tensor for name, tensor in tensors.items() if tensor.device.type != "cpu"}
    arrived = dict(zip(away, to_host(list(away.values())), strict=True))
    return {name: arrived.get(name, tensor).detach().numpy().copy() for name, tensor in tensors.items()}
