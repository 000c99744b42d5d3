from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.evaluation.training import accuracy, train_student
from hmdc_ray.seeding import Key, forked

KEY = Key(3, "student")


def make_network() -> nn.Sequential:
    with forked(KEY):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def make_images(count: int = 12) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % 3
    images = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(1)) + labels.view(-1, 1, 1, 1)
    return images, labels


def trained(recipe: Recipe, key: Key = KEY, count: int = 12) -> dict[str, Tensor]:
    network = make_network()
    train_student(network, *make_images(count), recipe, key)
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_same_key_same_weights_and_global_state_untouched() -> None:
    recipe = Recipe(epochs=3, batch=5, augmentation=True)
    before = torch.get_rng_state()

    first, second, other = trained(recipe), trained(recipe), trained(recipe, replace(KEY, iteration=1))

    assert equal(first, second) and not equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_epochs_and_learning_rate_are_those_of_dc(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    made: list[torch.optim.SGD] = []

    class Spy(torch.optim.SGD):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            made.append(self)

        def step(self, closure: None = None) -> None:  # type: ignore[override]
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Spy)

    trained(Recipe(epochs=4))

    # E + 1 epochs; the new optimiser comes after epoch E / 2 + 1 = 3, counted from 0
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.001])
    assert len(made) == 2
    assert all(group["momentum"] == 0.9 and group["weight_decay"] == 5e-4 for sgd in made for group in sgd.param_groups)


def test_every_image_is_seen_once_an_epoch_in_changing_order() -> None:
    seen: list[list[float]] = []

    class Recorder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 2)

        def forward(self, images: Tensor) -> Tensor:
            assert self.training
            seen.append(images.flatten().tolist())
            return self.head(images.flatten(1))  # type: ignore[no-any-return]

    train_student(Recorder(), torch.arange(6.0).view(6, 1, 1, 1), torch.arange(6) % 2, Recipe(epochs=2, batch=4), KEY)

    assert [len(batch) for batch in seen] == [4, 2] * 3
    epochs = [seen[index] + seen[index + 1] for index in (0, 2, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4, 5] for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_training_is_plain_sgd() -> None:
    network, reference = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    reference.load_state_dict(network.state_dict())
    images, labels = make_images()
    velocity = [torch.zeros_like(parameter) for parameter in reference.parameters()]
    for _ in range(3):
        gradients = torch.autograd.grad(F.cross_entropy(reference(images), labels), list(reference.parameters()))
        for index, (parameter, gradient) in enumerate(zip(reference.parameters(), gradients, strict=True)):
            velocity[index] = 0.9 * velocity[index] + gradient + 5e-4 * parameter.data
            parameter.data -= 0.01 * velocity[index]

    train_student(network, images, labels, Recipe(epochs=2), KEY)

    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_divergence_is_an_error_that_names_the_epoch() -> None:
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) in epoch \d+"):
        trained(Recipe(epochs=50, learning_rate=1e20))


def test_accuracy_counts_over_uneven_batches_in_evaluation_mode() -> None:
    class SignOfTheFirstPixel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert not self.training
            return torch.stack([-images[:, 0, 0, 0], images[:, 0, 0, 0]], dim=1)

    images = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]).view(5, 1, 1, 1)
    labels = torch.tensor([1, 0, 0, 1, 1])

    assert accuracy(SignOfTheFirstPixel().train(), [(images[:4], labels[:4]), (images[4:], labels[4:])]) == 3 / 5
