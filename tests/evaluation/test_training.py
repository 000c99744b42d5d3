from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmdc_ray.evaluation import training
from hmdc_ray.evaluation.distillation import Teacher
from hmdc_ray.evaluation.protocol import PROTOCOLS, Recipe
from hmdc_ray.evaluation.training import accuracy, train_student
from hmdc_ray.models.optimisers import SGD
from hmdc_ray.seeding import Key, forked

KEY = Key(3, "student")
DC = PROTOCOLS["dc"].plain
IDC = PROTOCOLS["idc"].varied


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


@pytest.mark.parametrize("variant", [DC, PROTOCOLS["dc"].varied, IDC])
def test_same_key_same_weights_and_global_state_untouched(variant: Recipe) -> None:
    recipe = replace(variant, epochs=3, batch=5)
    before = torch.get_rng_state()

    first, second, other = trained(recipe), trained(recipe), trained(recipe, replace(KEY, iteration=1))

    assert equal(first, second) and not equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


class Rates:
    """Learning rate and momentum of every step, and the optimisers made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rates: list[float] = []
        self.made: list[SGD] = []
        told = self

        class Spy(SGD):
            def __init__(self, *args: object, **kwargs: object) -> None:
                super().__init__(*args, **kwargs)  # type: ignore[arg-type]
                told.made.append(self)

            def step(self, closure: None = None) -> None:  # type: ignore[override]
                told.rates.append(self.param_groups[0]["lr"])
                super().step(closure)

        monkeypatch.setattr(training, "SGD", Spy)


def test_epochs_and_learning_rate_are_those_of_dc(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Rates(monkeypatch)

    trained(replace(DC, epochs=4))

    # E + 1 epochs; the new optimiser comes after epoch E / 2 + 1 = 3, counted from 0
    assert told.rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.001])
    assert len(told.made) == 2
    assert all(group["momentum"] == 0.9 and group["weight_decay"] == 5e-4 for sgd in told.made for group in sgd.param_groups)


def test_epochs_and_learning_rate_are_those_of_idc(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Rates(monkeypatch)

    trained(replace(IDC, epochs=6))

    # lowered at 2/3 and 5/6 of the epochs, momentum kept
    assert told.rates == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.002, 0.0004])
    assert len(told.made) == 1


class Recorder(nn.Module):
    """Keeps the images of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        logits: Tensor = self.head(images.flatten(1))
        return logits


def test_images_are_varied_one_by_one_and_mixed_in_every_second_batch() -> None:
    flip_only = replace(IDC, epochs=40, families=("flip",))
    images, labels = make_images()

    def batches(recipe: Recipe) -> list[Tensor]:
        recorder = Recorder()
        train_student(recorder, images, labels, recipe, KEY)
        return recorder.seen

    plain, varied, mixed = (
        batches(recipe)
        for recipe in (
            replace(flip_only, variation="none", cutmix=False),
            replace(flip_only, cutmix=False),
            flip_only,
        )
    )
    flipped = [[not torch.equal(a, b) for a, b in zip(old, new, strict=True)] for old, new in zip(plain, varied, strict=True)]
    assert 0.4 < sum(map(sum, flipped)) / (40 * 12) < 0.6
    assert all(0 < sum(row) < 12 for row in flipped)  # not one draw for the batch
    for old, new, row in zip(plain, varied, flipped, strict=True):
        torch.testing.assert_close(new, torch.where(torch.tensor(row)[:, None, None, None], old.flip(3), old))
    changed = sum(not torch.equal(old, new) for old, new in zip(varied, mixed, strict=True))
    assert 8 < changed < 32


def test_a_teacher_sees_what_the_student_sees_and_changes_it() -> None:
    teacher, student = Recorder(), Recorder()
    recipe = replace(IDC, epochs=2, batch=5)

    train_student(student, *make_images(), recipe, KEY, Teacher(teacher, 0.5, 1.5))

    assert len(student.seen) == 6
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(student.seen, teacher.seen, strict=True))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    alone = trained(recipe)
    network = make_network()
    train_student(network, *make_images(), recipe, KEY, Teacher(make_network().eval(), 0.5, 1.5))
    assert not equal(alone, dict(network.state_dict()))


def test_a_teacher_of_no_weight_changes_nothing() -> None:
    recipe = replace(DC, epochs=3)
    network = make_network()
    train_student(network, *make_images(), recipe, KEY, Teacher(make_network().eval(), 0.0, 1.5))
    assert equal(trained(recipe), dict(network.state_dict()))


def test_images_that_are_made_batch_by_batch_give_the_same_student() -> None:
    images, labels = make_images()

    class Slices:
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, rows: Tensor) -> Tensor:
            assert len(rows) <= 5
            return images[rows]

    network = make_network()
    train_student(network, Slices(), labels, replace(DC, epochs=3, batch=5), KEY)
    assert equal(trained(replace(DC, epochs=3, batch=5)), dict(network.state_dict()))


def test_every_image_is_seen_once_an_epoch_in_changing_order() -> None:
    seen: list[list[float]] = []

    class Order(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 2)

        def forward(self, images: Tensor) -> Tensor:
            assert self.training
            seen.append(images.flatten().tolist())
            return self.head(images.flatten(1))  # type: ignore[no-any-return]

    train_student(Order(), torch.arange(6.0).view(6, 1, 1, 1), torch.arange(6) % 2, replace(DC, epochs=2, batch=4), KEY)

    assert [len(batch) for batch in seen] == [4, 2] * 3
    epochs = [seen[index] + seen[index + 1] for index in (0, 2, 4)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4, 5] for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("recipe", [replace(DC, batch=6), replace(IDC, batch=6)], ids=["dc", "idc"])
def test_a_single_image_left_over_does_not_end_a_network_with_batchnorm(recipe: Recipe) -> None:
    maps_of_one_pixel = nn.Sequential(nn.Conv2d(1, 4, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    sizes: list[int] = []
    maps_of_one_pixel.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    train_student(maps_of_one_pixel, *make_images(13), replace(recipe, epochs=1, extra_epoch=False), KEY)
    assert sizes == [6, 7]


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

    train_student(network, images, labels, replace(DC, epochs=2), KEY)

    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_divergence_is_an_error_that_names_the_epoch() -> None:
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) in epoch \d+"):
        trained(replace(DC, epochs=50, learning_rate=1e20))


def test_accuracy_counts_over_uneven_batches_in_evaluation_mode() -> None:
    class SignOfTheFirstPixel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            assert not self.training
            return torch.stack([-images[:, 0, 0, 0], images[:, 0, 0, 0]], dim=1)

    images = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]).view(5, 1, 1, 1)
    labels = torch.tensor([1, 0, 0, 1, 1])

    assert accuracy(SignOfTheFirstPixel().train(), [(images[:4], labels[:4]), (images[4:], labels[4:])]) == 3 / 5
