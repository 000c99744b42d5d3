from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hmdc_ray.matching.distances import Metric, distance

SHAPES = [(4, 3, 3, 3), (4,), (4, 2, 5), (7, 4), (7,)]
ROWS = 4 + 4 + 7  # first dimensions of tensors with two or more, LayerNorm's affine of three among them


def gradients(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def test_mse_and_l1_are_sums_over_all_parameters() -> None:
    real, synthetic = gradients(0), gradients(1)
    differences = torch.cat([(r - s).flatten() for r, s in zip(real, synthetic, strict=True)])
    assert torch.isclose(distance("mse", real, synthetic), differences.square().sum())
    assert torch.isclose(distance("l1", real, synthetic), differences.abs().sum())


def test_cosine_of_a_gradient_with_itself_is_0_and_with_its_negative_twice_the_rows() -> None:
    real = gradients(0)
    assert abs(float(distance("cosine", real, real))) < 1e-4
    assert abs(float(distance("cosine", real, [-part for part in real])) - 2 * ROWS) < 1e-4


def test_cosine_sums_over_rows_and_ignores_scale_and_vectors() -> None:
    real, synthetic = gradients(0), gradients(1)
    rows = [
        1 - torch.nn.functional.cosine_similarity(r.flatten(1), s.flatten(1), dim=1)
        for r, s in zip(real, synthetic, strict=True)
        if r.dim() > 1
    ]
    expected = torch.cat(rows).sum()
    assert len(torch.cat(rows)) == ROWS
    assert torch.isclose(distance("cosine", real, synthetic), expected, atol=1e-4)
    assert torch.isclose(distance("cosine", real, [1000 * part for part in synthetic]), expected, atol=1e-4)
    changed = [part if part.dim() > 1 else part + 5 for part in synthetic]
    assert torch.equal(distance("cosine", real, changed), distance("cosine", real, synthetic))


def test_cosine_divides_by_the_norms_plus_a_millionth() -> None:
    real, synthetic = torch.tensor([[1e-3, 0.0]]), torch.tensor([[1e-3, 0.0]])
    assert torch.isclose(distance("cosine", [real], [synthetic]), torch.tensor(0.5))


@pytest.mark.parametrize("metric", ["mse", "cosine", "l1"])
def test_a_row_of_zeros_has_a_finite_distance_and_gradient(metric: Metric) -> None:
    real, synthetic = torch.zeros(3, 4), torch.zeros(3, 4, requires_grad=True)
    loss = distance(metric, [real], [synthetic])
    (gradient,) = torch.autograd.grad(loss, synthetic)
    assert loss.isfinite() and gradient.isfinite().all()


def test_lists_of_different_length_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        distance("mse", gradients(0), gradients(1)[:-1])
