import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ttest_rel

from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.comparison import ERROR_RATE, Comparison, compare

DRAWS = 4000
NAMES = ("convnet", "mlp", "lenet", "alexnet", "vgg11", "resnet18")
TRUE = np.array([0.05, 0.02, 0.0, -0.01, 0.1, -0.2])
SEEDS = 5

Noise = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def independent(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Normal noise of both sets on a seed's own level, another one for each architecture."""
    level, first, second = generator.normal(scale=[[[0.1]], [[0.02]], [[0.01]]], size=(3, len(NAMES), SEEDS))
    return level + first, level + second


def correlated(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All architectures rise and fall together in a seed."""
    common = generator.normal(scale=0.02, size=SEEDS)
    first, second = generator.normal(scale=0.005, size=(2, len(NAMES), SEEDS))
    return first, second + common


def counted(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of 1000 test images told right, as accuracies are."""
    level = generator.uniform(0.4, 0.6, size=(len(NAMES), SEEDS))
    first, second = generator.binomial(1000, level, size=(2, len(NAMES), SEEDS)) / 1000 - 0.5
    return first, second


def draws(noise: Noise, true: np.ndarray, key: int, count: int = DRAWS) -> list[tuple[Comparison, ...]]:
    generator = np.random.default_rng(key)
    made = []
    for _ in range(count):
        first, second = noise(generator)
        named = (dict(zip(NAMES, values.tolist(), strict=True)) for values in (first, second + true[:, None]))
        made.append(compare(*named))
    return made


def spread(rate: float) -> float:
    """Four standard deviations of a share measured in DRAWS draws: crossed by chance once in 16,000
    times."""
    return 4 * math.sqrt(rate * (1 - rate) / DRAWS)


@pytest.mark.parametrize("noise", [independent, correlated, counted])
def test_intervals_cover_the_true_differences_all_at_once(noise: Noise) -> None:
    made = draws(noise, TRUE, key=1)

    covered = np.array([[row.low <= value <= row.high for row, value in zip(rows, TRUE, strict=True)] for rows in made])

    each = 1 - ERROR_RATE / len(NAMES)
    assert np.abs(covered.mean(axis=0) - each).max() < spread(each)  # neither too short nor needlessly long
    assert covered.all(axis=1).mean() > 1 - ERROR_RATE - spread(ERROR_RATE)


@pytest.mark.parametrize("noise", [independent, correlated])
def test_a_difference_is_rarely_found_where_there_is_none(noise: Noise) -> None:
    made = draws(noise, np.zeros(len(NAMES)), key=2)

    rate = float(np.mean([any(row.significant for row in rows) for rows in made]))

    assert rate < ERROR_RATE + spread(ERROR_RATE)
    if noise is not correlated:  # with independent tests the rate is all but used up
        assert rate > ERROR_RATE - spread(ERROR_RATE) - 0.002


def test_significance_interval_and_corrected_p_never_contradict() -> None:
    rows = [row for made in draws(independent, TRUE / 4, key=3, count=500) for row in made]

    assert 0.1 < np.mean([row.significant for row in rows]) < 0.9  # the rule is tried on both sides
    assert all(row.significant == (row.p_corrected < ERROR_RATE) == (row.low > 0 or row.high < 0) for row in rows)


def test_numbers_are_scipys() -> None:
    first = {"mlp": (0.51, 0.55, 0.53, 0.58), "lenet": (0.3, 0.31, 0.29, 0.35)}
    second = {"lenet": (0.31, 0.35, 0.3, 0.36), "mlp": (0.52, 0.53, 0.55, 0.6)}

    mlp, lenet = compare(first, second)

    for row, name in ((mlp, "mlp"), (lenet, "lenet")):
        test = ttest_rel(second[name], first[name])
        interval = test.confidence_interval(1 - 0.05 / 2)
        assert row.architecture == name
        assert row.difference == pytest.approx(np.mean(second[name]) - np.mean(first[name]))
        assert (row.p_value, row.low, row.high) == pytest.approx((test.pvalue, interval.low, interval.high))
        assert row.p_corrected == pytest.approx(2 * test.pvalue)


def test_pairing_sees_a_small_difference_in_widely_spread_seeds() -> None:
    first = (0.2, 0.5, 0.8, 0.35)
    (row,) = compare(
        {"mlp": first}, {"mlp": [value + step for value, step in zip(first, (0.011, 0.01, 0.009, 0.01), strict=True)]}
    )

    assert row.significant and row.low > 0.008 and row.high < 0.012


def test_a_large_p_is_corrected_to_1_at_most() -> None:
    row, _ = compare({"a": (0.1, 0.2), "b": (0.1, 0.2)}, {"a": (0.2, 0.11), "b": (0.2, 0.1)})

    assert row.p_value > 0.5 and row.p_corrected == 1.0


def test_the_same_run_twice_has_no_difference() -> None:
    values = {"mlp": (0.1, 0.7, 0.3)}

    assert compare(values, values) == (Comparison("mlp", 0.0, 0.0, 0.0, 1.0, 1.0, False),)


def test_a_constant_difference_has_no_spread() -> None:
    assert compare({"mlp": (0.25, 0.5)}, {"mlp": (0.5, 0.75)}) == (Comparison("mlp", 0.25, 0.25, 0.25, 0.0, 0.0, True),)


def test_no_architectures_have_no_comparisons() -> None:
    assert compare({}, {}) == ()


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"mlp": [0.5]}, {"mlp": [0.6]}, r"^seeds of 'mlp' are 1: must be at least 2"),
        ({"mlp": [0.5, 0.6]}, {"mlp": [0.5, 0.6, 0.7]}, r"^seeds of 'mlp' are 2 for the first set and 3 for the second"),
        (
            {"mlp": [0.5, 0.6], "vit": [0.1, 0.2]},
            {"mlp": [0.5, 0.6]},
            r"^architectures are 'mlp', 'vit' for the first set and 'mlp' for the second: must be the same$",
        ),
        ({"mlp": [0.5, 0.6]}, {}, r"and none for the second"),
    ],
)
def test_what_cannot_be_paired_is_refused(first: dict[str, list[float]], second: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(first, second)
