"""What users state about a file, and how misspelt names are refused."""

from __future__ import annotations

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.interchange.declared import ImportOptions, parse_statistics


def test_statistics_as_numbers() -> None:
    for text, message in (("0.5:", "must be numbers"), ("a:b", "must be numbers"), ("1:2:3", "must be numbers")):
        with pytest.raises(InputError, match=f"--statistics is '{text}'.*{message}"):
            parse_statistics(text)
    with pytest.raises(InputError, match="2 means, but 1 deviations"):
        parse_statistics("0.5,0.4:1")
    for statistics in (((0.5,), (0.0,)), ((float("nan"),), (1.0,)), ((0.5,), (float("inf"),))):
        with pytest.raises(InputError, match="must be finite, the deviations above 0"):
            ImportOptions(statistics=statistics)


def test_other_scales_and_factors_are_refused() -> None:
    with pytest.raises(InputError, match=r"--statistics is 'cifar1o', which is not known: did you mean 'cifar10'\?"):
        parse_statistics("cifar1o")
    with pytest.raises(InputError, match=r"--scale is 'pixels', which is not known: did you mean 'pixel'\?"):
        ImportOptions(scale="pixels")
    with pytest.raises(InputError, match="--formation is 0, must be at least 1"):
        ImportOptions(formation=0)
