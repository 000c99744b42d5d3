"""Number formats of matrix work: what comes out, and how near its gradients are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hmdc_ray.config import Precision
from hmdc_ray.matching.gradients import classification_gradient, classification_target
from hmdc_ray.models import ImageShape, build
from hmdc_ray.models.network import Network
from hmdc_ray.models.precision import matrix_dtype, set_gpu_format, storage_dtype
from hmdc_ray.seeding import Key

NETWORKS = {"convnet": {"width": 32}, "vit": {"depth": 1}, "lenet": {}}


@pytest.fixture
def gpu_format() -> Iterator[None]:
    """Put the process' formats back."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]  # missing in torch's types
    before = [place.fp32_precision for place in places]
    yield
    for place, name in zip(places, before, strict=True):
        place.fp32_precision = name


def made(architecture: str, dtype: torch.dtype | None) -> Network:
    network = build(architecture, NETWORKS[architecture], ImageShape(3, 16, 16), 4, Key(1, "network"))
    network.matrix_dtype = dtype
    return network.eval()


def gradient(network: Network) -> torch.Tensor:
    """Of a classification target with respect to synthetic images."""
    generator = torch.Generator().manual_seed(9)
    real, images = (torch.randn(count, 3, 16, 16, generator=generator) for count in (6, 3))
    images.requires_grad_()
    parameters = list(network.parameters())
    labels = torch.zeros(6, dtype=torch.long)
    constants = classification_gradient(network(real), labels, parameters, create_graph=False)
    assert all(constant.dtype == torch.float32 for constant in constants)
    gradients = classification_gradient(network(images), labels[:3], parameters, create_graph=True)
    return classification_target("mse", constants, gradients, images, keep_graph=False)[1]


@pytest.mark.parametrize("architecture", NETWORKS)
def test_bfloat16_gives_float32_gradients_in_nearly_the_same_direction(architecture: str) -> None:
    exact, rounded = (gradient(made(architecture, dtype)) for dtype in (None, torch.bfloat16))
    assert rounded.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)
    assert cosine > 0.98
    assert not torch.equal(exact, rounded), "nothing was rounded"


@pytest.mark.parametrize("architecture", NETWORKS)
def test_logits_and_embedding_have_the_format_of_the_images(architecture: str) -> None:
    network = made(architecture, torch.bfloat16)
    observation = network.observe(torch.randn(2, 3, 16, 16))
    found = (observation.logits_BK, observation.embedding_BD)
    assert {tensor.dtype for tensor in found} == {torch.float32}


@pytest.mark.parametrize(
    ("precision", "storage", "matrix"),
    [
        ("float32", torch.float32, None),
        ("float64", torch.float64, None),
        ("tf32", torch.float32, None),
        ("bfloat16", torch.float32, torch.bfloat16),
    ],
)
def test_formats_by_name(precision: Precision, storage: torch.dtype, matrix: torch.dtype | None) -> None:
    assert storage_dtype(precision) == storage
    assert matrix_dtype(precision) == matrix


@pytest.mark.parametrize(("precision", "name"), [("tf32", "tf32"), ("float32", "ieee"), ("bfloat16", "ieee")])
def test_gpus_multiply_in_tensor_float_only_when_told(precision: Precision, name: str, gpu_format: None) -> None:
    set_gpu_format(precision)
    assert torch.backends.cuda.matmul.fp32_precision == name
    assert torch.backends.cudnn.conv.fp32_precision == name  # type: ignore[attr-defined]  # missing in torch's types
