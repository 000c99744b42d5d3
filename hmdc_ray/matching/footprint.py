"""How much memory the work of a member takes, measured on a few images and extrapolated to as many
as it will see.

The matching of one class is run by the very code that runs it in a step, three times: on few
images, on more real ones, and on more synthetic ones. The operations are the same each time, so the
bytes in use after each of them are a linear function of the two numbers of images, and three points
give those of whole batches, at the price of seconds and of a few images' memory. It leaves no
trace: the network is a fresh one afterwards, and draws are keyed.

Shapes: N operations; K classes, I stored images of a class, C x H x W an image.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.exchange.call_size import Footprint
from hmdc_ray.exchange.messages import Features, MemberTaps, Snapshot
from hmdc_ray.exchange.schedule import StepPlan, total_steps
from hmdc_ray.matching.alignment import PROBE_BATCH, Alignment, probe_images
from hmdc_ray.matching.batches import EMBEDDING_BATCH
from hmdc_ray.matching.device_choice import EMBEDDING_BYTES
from hmdc_ray.matching.matcher import Matcher
from hmdc_ray.matching.member import Member, option_draws
from hmdc_ray.matching.probe import CLASSIFIER_BYTES
from hmdc_ray.matching.rehearsal import rehearse_training
from hmdc_ray.models.network import Network
from hmdc_ray.models.probe import zeros

HEAP = 1.5
"""Bytes that a process takes per byte that its tensors use at the peak: freed memory is fragmented.
(Measured with the GNU C library, which keeps what is freed: 1.2 for a ConvNet, 1.3 to 1.7 for a
small ViT.)"""

INFERENCE_HEAP = 2.0
"""The same where no graph is kept and most is freed. (Measured: 1.6 to 2.2 for a ConvNet, 2.4 for a
small ViT.)"""

_FEW = 2
"""Images of the smallest batch: with one image torch skips some copies, because its stride does not
matter."""


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that are made in a block and still alive, gradients and what graphs hold
    included.

    Args:
        existing: tensors from before the block, which are not counted where the block makes views
            of them.

    Attributes:
        now: bytes alive now.
        after: bytes alive after each operation.
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.after: list[int] = []
        self._known: dict[int, object] = {}
        for tensor in existing:
            storage = tensor.untyped_storage()
            self._known[id(storage)] = storage

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **dict(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                self._see(leaf.untyped_storage())
        self.after.append(self.now)
        return out

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to skip its compiler, torch would import it, which takes two seconds and 90 MB."""
        return False

    def _see(self, storage: torch.UntypedStorage) -> None:
        name, size = id(storage), storage.nbytes()
        if name in self._known:
            return

        def gone(_: object) -> None:
            self.now -= size
            del self._known[name]

        self._known[name] = weakref.ref(storage, gone)
        self.now += size


def measure(member: Member, drawn: Sequence[MemberTaps]) -> Footprint:
    """The footprint of a member, the largest over its random options; afterwards the member is as
    freshly begun.

    Args:
        member: member in any state.
        drawn: taps of the members that it agrees with, itself among them; none without mutual
            distillation.
    """
    forms = [_form(member, options, drawn) for _, options in option_draws(member.config.random_options)]
    member.begin(0)
    member.clock.take()
    return Footprint(
        kept=max(form.kept for form in forms),
        matching=max(form.matching for form in forms),
        other=max(form.other for form in forms),
        message=max(form.message for form in forms),
    )


@dataclass(frozen=True)
class _Matched:
    """One class as it was matched on a few images.

    Attributes:
        after_N: bytes after each operation.
        kept: bytes after the first exchange, while the graphs wait for the consensus; 0 without
            mutual distillation.
        message: bytes of the features sent; 0 without mutual distillation.
    """

    after_N: NDArray[np.float64]
    kept: float
    message: float


def _form(member: Member, options: Mapping[str, Any], drawn: Sequence[MemberTaps]) -> Footprint:
    """The footprint of a member with these options."""
    taps = member.begin(0, options)
    drawn = [taps if other.name == taps.name else other for other in drawn]
    if drawn:
        member.align(0, drawn)
    info, formed, most = member.batches.dataset.info, member.images.formation**2, member.matching.real_batch
    label = int(np.argmax([len(member.batches.dataset.class_rows("train", k)) for k in range(len(info.class_names))]))
    plan = StepPlan(0, 0, 0, (member.index,), ((label,),), None, False, 0)
    with _counted(_modules(member)) as prepared:
        member.prepare(plan)
    few = max(1, _FEW // formed)
    synthetic = [min(most, stored * formed) for stored in (few, 2 * few)]
    base, more_real, more_synthetic = (
        _match(member, plan, label, *sizes) for sizes in ((_FEW, few), (2 * _FEW, few), (_FEW, 2 * few))
    )
    rows = len(member.batches.dataset.class_rows("train", label))
    reals = (min(most, rows) - _FEW) / _FEW
    synthetics = (min(most, member.images.ipc * formed) - synthetic[0]) / max(1, synthetic[1] - synthetic[0])

    def whole(of_base: float, of_more_real: float, of_more_synthetic: float) -> int:
        return int(of_base + reals * (of_more_real - of_base) + synthetics * (of_more_synthetic - of_base))

    lines = _aligned([base.after_N, more_real.after_N, more_synthetic.after_N])
    inference, classifier = [_embedding(member)], 0.0
    if drawn:
        features, classifier = _probe(member, plan)
        inference += [_aligner_pass(member, plan, drawn), features]
    message = whole(base.message, more_real.message, more_synthetic.message)
    waiting = 2 * member.images.ipc * _image_bytes(member)  # a class' gradients, which are copied into the chunk's array
    if member.device.type != "cpu":
        waiting += message  # a chunk's features leave in one copy, and its consensus arrives in one
    return Footprint(
        kept=whole(base.kept, more_real.kept, more_synthetic.kept) + waiting,
        matching=int(HEAP * max(map(whole, *lines))) + waiting,
        other=int(max(INFERENCE_HEAP * max(*prepared.after, *inference, 0), HEAP * _training(member, bool(drawn)), classifier)),
        message=message,
    )


def _match(member: Member, plan: StepPlan, label: int, real: int, stored: int) -> _Matched:
    """All exchanges of one class, with the member's own features as the consensus."""
    dataset = member.batches.dataset
    shape, classes = dataset.info.shape, len(dataset.info.class_names)
    member.selection = (np.resize(dataset.class_rows("train", label), real),) * classes
    images_ICHW = np.zeros((stored, shape.channels, shape.height, shape.width), np.float32)
    snapshot = Snapshot(plan.version, np.broadcast_to(images_ICHW, (classes, *images_ICHW.shape)))
    matcher, consensus, kept, message = Matcher(member), None, 0, 0
    with _counted(_modules(member)) as counted:
        if member.aligner is not None:
            consensus = Features(plan.version, matcher.features(plan, (label,), snapshot).batches)
            kept, message = counted.now, sum(batch.nbytes for batch in consensus.batches)
        _, cotangents, _ = matcher.match(plan, (label,), snapshot, consensus)
        if cotangents is not None:
            matcher.pull_back(plan, cotangents)
    return _Matched(np.array(counted.after, np.float64), kept, message)


def _training(member: Member, observed: bool) -> float:
    """Peak bytes while the member is trained on a batch. With CutMix, images that members agree on
    pass a second time."""
    schedule, info = member.schedule, member.batches.dataset.info
    if schedule.training == "none" or schedule.steps == 1:
        return 0.0
    decoded = len(info.class_names) * member.images.ipc * member.images.formation**2
    on_real = schedule.training == "real"
    images = min(schedule.batch, schedule.real_images, info.sizes["train"]) if on_real else min(schedule.batch, decoded)
    passes = 2 if on_real and observed and member.config.cutmix else 1
    all_decoded = 0 if on_real else 2 * decoded * _image_bytes(member)

    def train(count: int) -> None:
        rehearse_training(member.network, count, observed)

    return all_decoded + _extrapolated(_modules(member), passes * images, train)


def _embedding(member: Member) -> float:
    """Peak bytes while real images of a class are embedded for k-means, and on a device clustered
    there."""
    if "kmeans" not in (member.matching.sampler, member.images.initialise):
        return 0.0
    dataset = member.batches.dataset
    rows = max(len(dataset.class_rows("train", label)) for label in range(len(dataset.info.class_names)))
    shape, numbers = dataset.info.shape, 0

    def embed(count: int) -> None:
        nonlocal numbers
        with torch.inference_mode():
            seen = member.network.observe(zeros(member.network, count, shape.channels, shape.height, shape.width))
        numbers = seen.embedding_BD.shape[1]

    member.network.eval()
    embedding = _extrapolated(_modules(member), min(EMBEDDING_BATCH, rows), embed)
    return embedding if member.device.type == "cpu" else embedding + rows * numbers * EMBEDDING_BYTES


def _aligner_pass(member: Member, plan: StepPlan, drawn: Sequence[MemberTaps]) -> float:
    """Peak bytes while the aligner is trained on batches of real images; the taps of the first
    batch are kept."""
    batches, schedule = member.batches, member.schedule
    slices = batch_slices(min(member.matching.aligner_images, batches.dataset.info.sizes["train"]), schedule.batch)
    longest = max(places.stop - places.start for places in slices)
    passed = replace(plan, aligner_batches=min(2, len(slices)))

    def train(count: int) -> None:
        images = batches.matching.model_copy(update={"aligner_images": 2 * count})
        member.batches = replace(batches, matching=images)
        member.schedule = schedule.model_copy(update={"batch": count})
        member.align(0, drawn)  # anew, because the optimiser allocates its moments with the first step
        alignment = Alignment(member)
        for batch in range(passed.aligner_batches):
            alignment.step(passed, batch, alignment.features(passed, batch))

    try:
        return _extrapolated(_modules(member), longest, train)
    finally:
        member.batches, member.schedule = batches, schedule


def _probe(member: Member, plan: StepPlan) -> tuple[float, float]:
    """Peak bytes while a probe's features are computed, and while its classifier is fitted; 0 if no
    probe is due."""
    assert member.aligner is not None
    if total_steps(member.schedule) < member.matching.probe_every:
        return 0.0, 0.0
    alignment, size = Alignment(member), member.aligner.size
    fitted, tested = (len(rows) for _, rows in member.batches.probe_rows(probe_images(size)))
    numbers = size.layers * size.tokens * size.channels
    one = numbers * torch.empty((), dtype=member.batches.dtype).element_size()

    def observe(count: int) -> None:
        alignment.probed(plan, "train", np.resize(member.batches.dataset.class_rows("train", 0), count))

    def split(images: int) -> float:
        batch = min(PROBE_BATCH, images)
        # The last forward beside the results of those before it; then all results twice, while they
        # are concatenated.
        return max((images - batch) * one + _extrapolated(_modules(member), batch, observe), 2 * images * one)

    return max(split(fitted), fitted * one + split(tested)), fitted * numbers * CLASSIFIER_BYTES


def training_bytes(network: Network, images: int) -> int:
    """Peak bytes of a training step on a batch of ``images``, with the network, its gradients and
    their momentum."""
    own = sum(parameter.nbytes for parameter in network.parameters())
    passed = _extrapolated([network], images, lambda count: rehearse_training(network, count))
    return int(HEAP * (passed + 2 * own) + own)


def _modules(member: Member) -> list[nn.Module]:
    return [member.network, *([] if member.aligner is None else [member.aligner])]


def _extrapolated(modules: Sequence[nn.Module], images: int, work: Callable[[int], None]) -> float:
    """Peak bytes of some work of these modules on this many images, extrapolated from what it takes
    on few."""
    lines = []
    for count in (_FEW, 2 * _FEW):
        with _counted(modules) as counted:
            work(count)
        lines.append(np.array(counted.after, np.float64))
    few, twice = _aligned(lines)
    return float(np.max(few + (images - _FEW) / _FEW * (twice - few)))


def _aligned(lines: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Bytes of several measurements, operation by operation, (N,) each; if a network runs other
    operations on other batches, the peak of each measurement, (1,)."""
    same = len({len(line) for line in lines}) == 1
    return list(lines) if same else [np.array([line.max()]) for line in lines]


@contextmanager
def _counted(modules: Sequence[nn.Module]) -> Iterator[LiveBytes]:
    """Count what a block takes beside the modules, which are on one device. On a GPU a last entry
    is the peak of its allocator, which includes the workspaces of kernels."""
    on_gpu, before = next(modules[0].parameters()).device.type == "cuda", 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with LiveBytes(tensor for module in modules for tensor in (*module.parameters(), *module.buffers())) as counted:
        yield counted
    if on_gpu:
        counted.after.append(torch.cuda.max_memory_allocated() - before)


def _image_bytes(member: Member) -> int:
    """Bytes of one image in the member's number format."""
    return member.batches.dataset.info.shape.values * torch.empty((), dtype=member.batches.dtype).element_size()
