"""Batches that members see: pairs of real and synthetic images of one class, and training batches over all classes.

Every member of a step draws the same images and the same augmentation, because no key names the member.
Shapes: B images of a batch, I stored images of a class, C x H x W an image, normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmdc_ray.config import ImagesConfig, MatchingConfig
from hmdc_ray.data.augment import Augmentation, draw
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import check_formation, decode, pack
from hmdc_ray.data.schema import check_class_sizes
from hmdc_ray.matching.choice import kmeans_choice, random_choice
from hmdc_ray.messages import Rows
from hmdc_ray.models.network import Network
from hmdc_ray.models.precision import storage_dtype
from hmdc_ray.schedule import StepPlan
from hmdc_ray.seeding import Key, Stream

EMBEDDING_BATCH = 500
"""Images in one forward while embedding: fixed, so that embeddings have the same bits everywhere."""

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
        device: where batches go.
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
        """Real images of a class, (B, C, H, W), without augmentation: the selected ones, or a random draw of this step."""
        if selection is not None:
            return self.rows(selection[label])
        return self._random_rows("real_images", plan, label, self.matching.real_batch)

    def synthetic(self, plan: StepPlan, label: int, images_ICHW: Tensor) -> Tensor:
        """Decoded synthetic images of a class, at most a real batch of them, differentiable; without augmentation."""
        decoded = decode(images_ICHW, self.formation)
        if len(decoded) > self.matching.real_batch:
            key = Key(self.seed, "decoded_images", iteration=plan.iteration, step=plan.step, label=label)
            decoded = decoded[torch.from_numpy(random_choice(len(decoded), self.matching.real_batch, key)).to(self.device)]
        return decoded

    def augmentation(self, plan: StepPlan, stream: Stream, label: int = 0, batch: int = 0) -> Augmentation:
        """The Siamese draw of a step, shared by real and synthetic images and by all members."""
        key = Key(self.seed, stream, iteration=plan.iteration, step=plan.step, label=label, batch=batch)
        shape, families = self.dataset.info.shape, self.matching.families
        return draw(self.matching.augmentation, families, shape.height, shape.width, key.generator(), dtype=self.dtype)

    def statistics_images(self, plan: StepPlan) -> Tensor:
        """A few real images of every class, for BatchNorm statistics."""
        classes = range(len(self.dataset.info.class_names))
        return torch.cat([self._random_rows("batchnorm", plan, label, BATCHNORM_IMAGES) for label in classes])

    def training_rows(self, plan: StepPlan, images: int) -> Rows:
        """Rows of the training split for a step's training on real data: ``images`` of them, or all."""
        key = Key(self.seed, "train_images", iteration=plan.iteration, step=plan.step)
        return random_choice(self.dataset.info.sizes["train"], images, key)

    def labels(self, rows: Rows) -> Tensor:
        """Labels of training rows."""
        return torch.from_numpy(self.dataset.labels("train")[rows]).to(self.device)

    def rows(self, rows: Rows) -> Tensor:
        """Training images by row."""
        return self.dataset.normalised("train", rows, self.dtype).to(self.device)

    def choose(self, network: Network, label: int, count: int, key: Key) -> Rows:
        """Rows of a class nearest to k-means centroids of the network's embedding."""
        rows = self.dataset.class_rows("train", label)
        embeddings = []
        with torch.inference_mode():
            for start in range(0, len(rows), EMBEDDING_BATCH):
                images = self.rows(rows[start : start + EMBEDDING_BATCH])
                embeddings.append(network.observe(images).embedding_BD.cpu().numpy())
        positions = kmeans_choice(np.concatenate(embeddings), count, key, self.matching.kmeans_iterations)
        return rows[positions]

    def initial_images(self, config: ImagesConfig, network: Network) -> Tensor:
        """Synthetic images before the first step, (K, I, C, H, W): noise, random real images, or k-means ones.

        Those of a condensed set are read where the pool is started, see :func:`hmdc_ray.initial_set.initial_images`.

        Raises:
            InputError: the formation factor does not divide the image, or a class has too few real images.
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
        classes = []
        for label in range(len(info.class_names)):
            rows = self.dataset.class_rows("train", label)
            class_key = Key(self.seed, "initial_images", label=label)
            if config.initialise == "real":
                rows = rows[random_choice(len(rows), count, class_key)]
            else:
                rows = self.choose(network, label, count, class_key)
            classes.append(pack(self.rows(rows), config.formation))
        return torch.stack(classes).cpu()

    def _random_rows(self, stream: Stream, plan: StepPlan, label: int, count: int) -> Tensor:
        rows = self.dataset.class_rows("train", label)
        key = Key(self.seed, stream, iteration=plan.iteration, step=plan.step, label=label)
        return self.rows(rows[random_choice(len(rows), count, key)])
