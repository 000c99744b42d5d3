import pytest

from hmdc_ray.config import EvaluationConfig
from hmdc_ray.evaluation.protocol import recipe


@pytest.mark.parametrize(
    ("augmentation", "epochs", "expected"), [(False, None, 300), (True, None, 1000), (True, 7, 7), (False, 7, 7)]
)
def test_epochs(augmentation: bool, epochs: int | None, expected: int) -> None:
    used = recipe(EvaluationConfig(augmentation=augmentation, epochs=epochs))

    assert (used.epochs, used.augmentation) == (expected, augmentation)


def test_constants_of_dc() -> None:
    used = recipe(EvaluationConfig())

    assert (used.learning_rate, used.momentum, used.weight_decay, used.batch, used.decay) == (0.01, 0.9, 5e-4, 256, 0.1)
    assert used.decay_epoch == 151
