import math

import pytest

from hmdc_ray.errors import InputError
from hmdc_ray.evaluation.scores import augmentation_robust_score, label_robust_score


def test_label_robust_score_of_known_accuracies() -> None:
    # IOR = 0.2, HLR = 0.4: alpha = 0.5 * 0.2 - 0.5 * 0.4 = -0.1; (e^-0.1 - e^-1) / (e^1 - e^-1) by
    # hand
    assert label_robust_score(real=0.9, condensed=0.5, random=0.3) == pytest.approx(0.2284536, abs=1e-7)


def test_augmentation_robust_score_of_known_accuracies() -> None:
    # beta = 0.5 * (0.6 - 0.5) + 0.5 * (0.5 - 0.2) = 0.2
    score = augmentation_robust_score(0.6, 0.5, 0.5, 0.2)

    assert score == pytest.approx((math.exp(0.2) - 1 / math.e) / (2 * math.sinh(1)))
    assert augmentation_robust_score(0.6, 0.5, 0.5, 0.2) == pytest.approx(augmentation_robust_score(0.5, 0.2, 0.6, 0.5))


def test_scores_span_zero_to_one() -> None:
    assert label_robust_score(real=1.0, condensed=0.0, random=1.0) == pytest.approx(0.0)
    assert augmentation_robust_score(0.0, 1.0, 0.0, 1.0) == pytest.approx(0.0)
    assert augmentation_robust_score(1.0, 0.0, 1.0, 0.0) == pytest.approx(1.0)
    assert label_robust_score(real=0.0, condensed=1.0, random=0.0) == pytest.approx(1.0)


def test_better_images_score_higher() -> None:
    scores = [label_robust_score(0.9, condensed, 0.3) for condensed in (0.3, 0.5, 0.7, 0.9)]

    assert scores == sorted(scores) and len(set(scores)) == 4


@pytest.mark.parametrize("value", [45.2, -0.1, math.nan])
def test_what_is_no_fraction_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=rf"condensed is {value}: must be a fraction in \[0, 1\]"):
        label_robust_score(0.9, value, 0.3)
    with pytest.raises(InputError, match=r"random_plain is .* fraction"):
        augmentation_robust_score(0.9, 0.3, 0.5, value)
