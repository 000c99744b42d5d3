"""Batches that members see: pairs of real and synthetic images of one class, and training batches
over all classes.

Every member of a step draws the same images and the same augmentation, because no key names the
member.

Shapes: B images of a batch, K classes, I stored images of a class, N of all classes, C x H x W an
image, normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig, MatchingConfig, ScheduleConfig
from hmdc_ray.data.augment import Augmentation, draw
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import check_formation, decode, pack
from hmdc_ray.data.reader import Reader
from hmdc_ray.data.schema import Split, check_class_sizes
from hmdc_ray.exchange.messages import Rows, Snapshot
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.exchange.tensors import view
from hmdc_ray.matching.choice import finite, kmeans_choice, random_choice
from hmdc_ray.matching.device_choice import kmeans_choice_on_device
from hmdc_ray.matching.draws import Draw, drawn
from hmdc_ray.models.network import Network
from hmdc_ray.seeding import Key, Stream
from hmdc_ray.system.transfer import to_device, to_host

EMBEDDING_BATCH = 500
"""Images in one forward while embedding: fixed, so that embeddings have the same bits
everywhere."""

BATCHNORM_IMAGES = 16
"""Real images per class from which a matching network's BatchNorm statistics are taken (DC)."""


@dataclass(frozen=True)
class Batches:
    """Draws and makes the batches of one member.

    Attributes:
        seed: the run's seed.
        reader: the decoded data, the device of the batches and their number format.
        matching: batch size, sampler, augmentation.
        formation: multi-formation factor f.
    """

    seed: int
    reader: Reader
    matching: MatchingConfig
    formation: int

    @property
    def dataset(self) -> ImageDataset:
        """The decoded data."""
        return self.reader.dataset

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.reader.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of images and networks."""
        return self.reader.dtype

    # Draws, on the CPU

    def pair(self, plan: StepPlan, label: int, selection: tuple[Rows, ...] | None, stored: int) -> Draw:
        """Both batches of a class: real images, the selected ones or a random draw of this step,
        and the decoded ones of ``stored`` synthetic images, at most ``matching.real_batch`` of
        either.

        Their augmentation is one draw for all of them and for all members: Siamese (DSA).
        """
        most, sizes = self.matching.real_batch, stored * self.formation**2
        rows = self._random_rows("real_images", plan, label, most) if selection is None else selection[label]
        augmentation = self._draw(self._key("augmentation", plan, label=label), count=1)
        decoded = random_choice(sizes, most, self._key("decoded_images", plan, label=label)) if sizes > most else None
        return drawn(rows, augmentation, decoded=decoded)

    def real_training(self, plan: StepPlan, schedule: ScheduleConfig) -> list[Draw]:
        """Real images of a step's training batches, each augmented on its own (HMDC, IDC)."""
        images, batches = schedule.real_images, plan.training_batches
        return self._real_batches(("train_images", "train_augmentation"), plan, images, schedule.batch, batches)

    def alignment(self, plan: StepPlan, schedule: ScheduleConfig) -> list[Draw]:
        """Real images of the batches on which aligners are trained before a step; the keys of these
        draws and augmentations are not those of the networks' training."""
        images, batches = self.matching.aligner_images, plan.aligner_batches
        return self._real_batches(("aligner_images", "aligner_augmentation"), plan, images, schedule.batch, batches)

    def synthetic_training(self, plan: StepPlan, size: int, images: int, order: int) -> list[Draw]:
        """Decoded synthetic images of a step's training batches, each with its own augmentation.

        Args:
            plan: the step.
            size: images in a batch.
            images: number of decoded images, N.
            order: position of the member whose order of the images is drawn.
        """
        found, slices = [], batch_slices(images, size)
        for batch in range(plan.training_batches):  # counted through the epochs of the training
            epoch, position = divmod(batch, len(slices))
            key = Key(self.seed, "train_images", order, plan.iteration, plan.step, batch=epoch)
            rows = random_choice(images, images, key)[slices[position]]
            found.append(drawn(rows, self._draw(self._key("train_augmentation", plan, batch=batch), len(rows))))
        return found

    # Batches, on the device

    def real(self, draw: Draw) -> Tensor:
        """The real images of a draw, (B, C, H, W), augmented."""
        return draw.augmentation(self.reader(draw.rows, "train", draw.rows_B))

    def synthetic(self, draw: Draw, images_ICHW: Tensor) -> Tensor:
        """The decoded synthetic images that go with the real ones of a draw, (B, C, H, W),
        augmented.

        Differentiable with respect to ``images_ICHW``.
        """
        decoded_BCHW = decode(images_ICHW, self.formation)  # B = I * f * f (IDC's multi-formation)
        if len(draw.decoded_B):
            decoded_BCHW = decoded_BCHW[draw.decoded_B]
        return draw.augmentation(decoded_BCHW)

    def statistics_images(self, plan: StepPlan) -> Tensor:
        """A few real images of every class, (B, C, H, W), for BatchNorm statistics."""
        classes = range(len(self.dataset.info.class_names))
        rows = [self._random_rows("batchnorm", plan, label, BATCHNORM_IMAGES) for label in classes]
        return self.reader(np.concatenate(rows))

    def decoded(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        """The decoded synthetic images of all classes, (N, C, H, W), and their labels, (N,)."""
        (images_KICHW,) = (part.to(self.dtype) for part in to_device([view(snapshot.images_KICHW)], self.device))
        decoded_NCHW = torch.cat([decode(images_ICHW, self.formation) for images_ICHW in images_KICHW])
        labels_K = torch.arange(len(images_KICHW), device=self.device)
        return decoded_NCHW, labels_K.repeat_interleave(len(decoded_NCHW) // len(images_KICHW))

    def choose(self, network: Network, keys: Sequence[Key], count: int) -> list[Rows]:
        """Rows of the class of each key, nearest to k-means centroids of the network's embedding,
        ``count`` of them (DREAM).

        On a device the choice is that of :mod:`hmdc_ray.matching.device_choice`.
        """
        classes, most = [self.dataset.class_rows("train", key.label) for key in keys], self.matching.kmeans_iterations
        if self.device.type == "cpu":
            embedded = (torch.cat(self._embedded(network, rows, view(rows))).numpy() for rows in classes)
            chosen = [kmeans_choice(finite(found_ND), count, key, most) for found_ND, key in zip(embedded, keys, strict=True)]
        else:
            there = to_device(list(map(view, classes)), self.device)
            found = []
            for rows, rows_N, key in zip(classes, there, keys, strict=True):
                embeddings_ND = torch.cat(self._embedded(network, rows, rows_N))
                found.append(kmeans_choice_on_device(embeddings_ND, count, key, most))
            chosen = [positions.numpy() for positions in to_host(found)]
        return [rows[positions] for rows, positions in zip(classes, chosen, strict=True)]

    def probe_rows(self, images: int) -> list[tuple[Split, Rows]]:
        """Rows of a probe: of the training split to fit it, of validation data to test it; where
        there are none, of other training images. A larger number of images contains the smaller
        one's."""
        sizes = self.dataset.info.sizes
        fitted, tested = (Key(self.seed, "probe", batch=batch) for batch in (0, 1))
        if sizes["validation"]:
            return [
                ("train", random_choice(sizes["train"], images, fitted)),
                ("validation", random_choice(sizes["validation"], images, tested)),
            ]
        rows = random_choice(sizes["train"], sizes["train"], fitted)
        half = len(rows) // 2
        return [("train", rows[:half][:images]), ("train", rows[half:][:images])]

    def initial_images(self, config: ImagesConfig, network: Network) -> Tensor:
        """Synthetic images before the first step, (K, I, C, H, W): noise, random real images, or
        k-means ones.

        Images of a condensed set are read elsewhere, see
        :func:`hmdc_ray.server.initial_set.initial_images`.

        Raises:
            InputError: the formation factor does not divide the image, or a class has too few real
                images.
        """
        assert config.initial_set is None, config.initialise
        info = self.dataset.info
        check_formation(config.formation, info.shape.height, info.shape.width)
        check_class_sizes(config, info)
        key = Key(self.seed, "initial_images")
        if config.initialise == "noise":
            shape = (len(info.class_names), config.ipc, info.shape.channels, info.shape.height, info.shape.width)
            return torch.randn(shape, generator=key.generator(), dtype=self.dtype)
        count = config.ipc * config.formation**2
        images_ICHW = []
        for label in range(len(info.class_names)):
            rows = self.dataset.class_rows("train", label)
            class_key = Key(self.seed, "initial_images", label=label)
            if config.initialise == "real":
                rows = rows[random_choice(len(rows), count, class_key)]
            else:
                (rows,) = self.choose(network, [class_key], count)
            images_ICHW.append(pack(self.reader(rows), config.formation))
        return torch.stack(images_ICHW).cpu()

    def _key(self, stream: Stream, plan: StepPlan, label: int = 0, batch: int = 0) -> Key:
        return Key(self.seed, stream, iteration=plan.iteration, step=plan.step, label=label, batch=batch)

    def _draw(self, key: Key, count: int) -> Augmentation:
        shape, matching = self.dataset.info.shape, self.matching
        generator = key.generator()
        return draw(matching.augmentation, matching.families, shape.height, shape.width, generator, count, self.dtype)

    def _embedded(self, network: Network, rows: Rows, rows_N: Tensor) -> list[Tensor]:
        """Embedding (B, D) of each block of rows of the training split, which are also given on the
        device."""
        with torch.inference_mode():
            starts = range(0, len(rows), EMBEDDING_BATCH)
            blocks = [slice(start, start + EMBEDDING_BATCH) for start in starts]
            return [network.observe(self.reader(rows[block], "train", rows_N[block])).embedding_BD for block in blocks]

    def _real_batches(self, streams: tuple[Stream, Stream], plan: StepPlan, images: int, size: int, batches: int) -> list[Draw]:
        """Draws of the first ``batches`` batches of ``images`` training rows that are drawn for the
        step, or of all if they are fewer."""
        rows = random_choice(self.dataset.info.sizes["train"], images, self._key(streams[0], plan))
        found = []
        for batch, places in zip(range(batches), batch_slices(len(rows), size), strict=False):
            some = rows[places]
            augmentation = self._draw(self._key(streams[1], plan, batch=batch), len(some))
            found.append(drawn(some, augmentation, labels=self.dataset.labels("train")[some]))
        return found

    def _random_rows(self, stream: Stream, plan: StepPlan, label: int, count: int) -> Rows:
        """Rows of random real images of a class, at most ``count``."""
        rows = self.dataset.class_rows("train", label)
        return rows[random_choice(len(rows), count, self._key(stream, plan, label=label))]
