from collections.abc import Callable

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset, open_dataset

SetFactory = Callable[..., CondensedSet]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return open_dataset(DataConfig(source="digits", cache=str(tmp_path_factory.mktemp("cache"))))


@pytest.fixture(scope="session")
def digit_means(digits: ImageDataset) -> CondensedSet:
    """The mean image of every class: a condensed set that teaches well."""
    means = [digits.normalised("train", digits.class_rows("train", label)).mean(dim=0) for label in range(10)]
    info = digits.info
    return CondensedSet(torch.stack(means), torch.arange(10), info.class_names, info.mean, info.std)
