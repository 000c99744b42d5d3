"""Sizes of gradients are those of float64, class by class, in and beyond the range of their own
type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hmdc_ray.matching.sizes import gradient_sizes

NOISE_KICHW = torch.randn(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sizes_are_those_of_float64(scale: float, dtype: torch.dtype) -> None:
    gradient_KICHW = (NOISE_KICHW * scale).to(dtype)
    sizes, rows_KP = gradient_sizes(gradient_KICHW), gradient_KICHW.double().flatten(1).numpy()
    assert np.array_equal(sizes.magnitudes_K, np.abs(rows_KP).max(1))
    np.testing.assert_allclose(sizes.sums_K, np.abs(rows_KP).sum(1), rtol=1e-6)
    np.testing.assert_allclose(sizes.norms_K, np.linalg.norm(rows_KP, axis=1), rtol=1e-6)
    assert {values.dtype for values in vars(sizes).values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_class_that_is_not_finite_spoils_no_other(value: float) -> None:
    spoilt_KICHW = NOISE_KICHW.clone()
    spoilt_KICHW[1, 0, 0, 2, 3] = value
    for found_K, clean_K in zip(*(vars(gradient_sizes(each)).values() for each in (spoilt_KICHW, NOISE_KICHW)), strict=True):
        assert np.isfinite(found_K).tolist() == [True, False, True]
        np.testing.assert_allclose(found_K[[0, 2]], clean_K[[0, 2]], rtol=1e-6)
