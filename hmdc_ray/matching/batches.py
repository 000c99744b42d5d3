"""Batches that members see: pairs of real and synthetic images of one class, and training batches
over all classes.

Every member of a step draws the same images and the same augmentation, because no key names the
member.

Shapes: B images of a batch, K classes, I stored images of a class, N of all classes, C x H x W an
image, normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig, MatchingConfig, ScheduleConfig
from hmdc_ray.data.augment import Augmentation, draw
from hmdc_ray.data.cutting import batch_slices
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import check_formation, decode, pack
from hmdc_ray.data.schema import Split, check_class_sizes
from hmdc_ray.exchange.messages import Rows, Snapshot
from hmdc_ray.exchange.schedule import StepPlan
from hmdc_ray.matching.choice import kmeans_choice, random_choice
from hmdc_ray.models.network import Network
from hmdc_ray.models.precision import storage_dtype
from hmdc_ray.seeding import Key, Stream

EMBEDDING_BATCH = 500
"""Images in one forward while embedding: fixed, so that embeddings have the same bits
everywhere."""

BATCHNORM_IMAGES = 16
"""Real images per class from which a matching network's BatchNorm statistics are taken (DC)."""


@dataclass(frozen=True)
class Batches:
    """Reader and augmenter of one member.

    Attributes:
        seed: the run's seed.
        dataset: the decoded data.
        matching: batch size, sampler, augmentation, precision.
        formation: multi-formation factor f.
        device: device to which batches are moved.
    """

    seed: int
    dataset: ImageDataset
    matching: MatchingConfig
    formation: int
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of images and networks."""
        return storage_dtype(self.matching.precision)

    def real(self, plan: StepPlan, label: int, selection: tuple[Rows, ...] | None) -> Tensor:
        """Real images of a class, (B, C, H, W), not augmented: the selected ones, or a random draw
        of this step."""
        if selection is not None:
            return self.rows(selection[label])
        return self._random_rows("real_images", plan, label, self.matching.real_batch)

    def synthetic(self, plan: StepPlan, label: int, images_ICHW: Tensor) -> Tensor:
        """Decoded synthetic images of a class, (B, C, H, W), at most ``matching.real_batch``, not
        augmented.

        Differentiable with respect to ``images_ICHW``.
        """
        decoded_BCHW = decode(images_ICHW, self.formation)  # B = I * f * f (IDC's multi-formation)
        if len(decoded_BCHW) > self.matching.real_batch:
            key = Key(self.seed, "decoded_images", iteration=plan.iteration, step=plan.step, label=label)
            chosen_B = torch.from_numpy(random_choice(len(decoded_BCHW), self.matching.real_batch, key))
            decoded_BCHW = decoded_BCHW[chosen_B.to(self.device)]
        return decoded_BCHW

    def augmentation(self, plan: StepPlan, label: int) -> Augmentation:
        """The Siamese draw of a step (DSA), shared by the real and synthetic images of a class and
        by all members."""
        return self._draw(self._key("augmentation", plan, label=label), count=1)

    def statistics_images(self, plan: StepPlan) -> Tensor:
        """A few real images of every class, (B, C, H, W), for BatchNorm statistics."""
        classes = range(len(self.dataset.info.class_names))
        return torch.cat([self._random_rows("batchnorm", plan, label, BATCHNORM_IMAGES) for label in classes])

    def real_training(self, plan: StepPlan, batch: int, schedule: ScheduleConfig) -> tuple[Tensor, Tensor]:
        """Real images of a training batch, (B, C, H, W), each augmented on its own (HMDC, IDC), and
        labels (B,)."""
        rows = self._real_rows("train_images", plan, schedule.real_images, schedule.batch, batch)
        return self.varied(self.rows(rows), self._key("train_augmentation", plan, batch=batch)), self.labels(rows)

    def alignment(self, plan: StepPlan, batch: int, schedule: ScheduleConfig) -> Tensor:
        """Real images of a batch on which aligners are trained, (B, C, H, W); the keys of these
        draws and augmentations are not those of the networks' training."""
        rows = self._real_rows("aligner_images", plan, self.matching.aligner_images, schedule.batch, batch)
        return self.varied(self.rows(rows), self._key("aligner_augmentation", plan, batch=batch))

    def decoded(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        """The decoded synthetic images of all classes, (N, C, H, W), and their labels, (N,)."""
        images_KICHW = torch.tensor(snapshot.images_KICHW, dtype=self.dtype, device=self.device)
        decoded_NCHW = torch.cat([decode(images_ICHW, self.formation) for images_ICHW in images_KICHW])
        labels_K = torch.arange(len(images_KICHW), device=self.device)
        return decoded_NCHW, labels_K.repeat_interleave(len(decoded_NCHW) // len(images_KICHW))

    def synthetic_training(
        self, plan: StepPlan, batch: int, size: int, decoded: tuple[Tensor, Tensor], order: int
    ) -> tuple[Tensor, Tensor]:
        """Synthetic images of a training batch, (B, C, H, W), each with its own augmentation, and
        labels (B,).

        Args:
            plan: the step.
            batch: number of the batch in the step's training, counted through its epochs.
            size: images in a batch.
            decoded: images (N, C, H, W) and labels (N,) from :meth:`decoded`.
            order: position of the member whose order of the images is drawn.
        """
        images_NCHW, labels_N = decoded
        slices = batch_slices(len(labels_N), size)
        epoch, position = divmod(batch, len(slices))
        key = Key(self.seed, "train_images", order, plan.iteration, plan.step, batch=epoch)
        rows_B = torch.from_numpy(random_choice(len(labels_N), len(labels_N), key)[slices[position]]).to(self.device)
        return self.varied(images_NCHW[rows_B], self._key("train_augmentation", plan, batch=batch)), labels_N[rows_B]

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

    def labels(self, rows: Rows, split: Split = "train") -> Tensor:
        """Labels by row of a split, (B,)."""
        return torch.from_numpy(self.dataset.labels(split)[rows]).to(self.device)

    def rows(self, rows: Rows, split: Split = "train") -> Tensor:
        """Images by row of a split, (B, C, H, W)."""
        return self.dataset.normalised(split, rows, self.dtype).to(self.device)

    def choose(self, network: Network, label: int, count: int, key: Key) -> Rows:
        """Rows of a class nearest to k-means centroids of the network's embedding, ``count`` of
        them (DREAM)."""
        rows = self.dataset.class_rows("train", label)
        embeddings = []
        with torch.inference_mode():
            for start in range(0, len(rows), EMBEDDING_BATCH):
                images_BCHW = self.rows(rows[start : start + EMBEDDING_BATCH])
                embeddings.append(network.observe(images_BCHW).embedding_BD.cpu().numpy())
        # A network that diverged has embeddings that are not finite. Its bad gradients are counted
        # and it is renewed; until then any images will do.
        embeddings_ND = np.nan_to_num(np.concatenate(embeddings), nan=0.0, posinf=0.0, neginf=0.0)
        positions = kmeans_choice(embeddings_ND, count, key, self.matching.kmeans_iterations)
        return rows[positions]

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
                rows = self.choose(network, label, count, class_key)
            images_ICHW.append(pack(self.rows(rows), config.formation))
        return torch.stack(images_ICHW).cpu()

    def _key(self, stream: Stream, plan: StepPlan, label: int = 0, batch: int = 0) -> Key:
        return Key(self.seed, stream, iteration=plan.iteration, step=plan.step, label=label, batch=batch)

    def _draw(self, key: Key, count: int) -> Augmentation:
        shape, matching = self.dataset.info.shape, self.matching
        generator = key.generator()
        return draw(matching.augmentation, matching.families, shape.height, shape.width, generator, count, self.dtype)

    def varied(self, images_BCHW: Tensor, key: Key) -> Tensor:
        """The images, (B, C, H, W), each with its own augmentation."""
        return self._draw(key, len(images_BCHW))(images_BCHW)

    def _real_rows(self, stream: Stream, plan: StepPlan, images: int, size: int, batch: int) -> Rows:
        """Training rows of a batch, from ``images`` rows that are drawn for the step, or from all
        if they are fewer."""
        rows = random_choice(self.dataset.info.sizes["train"], images, self._key(stream, plan))
        return rows[batch_slices(len(rows), size)[batch]]

    def _random_rows(self, stream: Stream, plan: StepPlan, label: int, count: int) -> Tensor:
        """Random real images of a class, (B, C, H, W), at most ``count``."""
        rows = self.dataset.class_rows("train", label)
        key = Key(self.seed, stream, iteration=plan.iteration, step=plan.step, label=label)
        return self.rows(rows[random_choice(len(rows), count, key)])
