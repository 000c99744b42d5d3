from dataclasses import replace

import pytest
import torch

from hmdc_ray.condensed import CondensedSet
from hmdc_ray.config import DistillationConfig, EvaluationConfig, StudentConfig
from hmdc_ray.data.cutmix import Mixed, cutmix
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.errors import RunError
from hmdc_ray.evaluation import training
from hmdc_ray.evaluation.plan import run_trial, train_teacher
from hmdc_ray.evaluation.trial import StudentTrainer, Trial
from hmdc_ray.seeding import Key

MLP = StudentConfig(architecture="mlp")
CONFIG = EvaluationConfig(students=(MLP,), epochs=40)


@pytest.mark.parametrize("student", [MLP, StudentConfig(architecture="lenet")], ids=["mlp", "lenet"])
def test_no_student_is_taught_by_its_twin(student: StudentConfig, digits: ImageDataset, digit_means: CondensedSet) -> None:
    config = EvaluationConfig(students=(student,), epochs=2, distillation=DistillationConfig(teacher=student))
    room = StudentTrainer(digit_means, digits, config, 0, "cpu")
    taught = Trial("condensed", student, 1, 0, temperature=1.5)
    alone = room.student(student, 1)
    apart = [
        not torch.equal(ours, theirs) for ours, theirs in zip(alone.parameters(), room.teacher(1).parameters(), strict=True)
    ]
    assert any(apart)

    room.train(alone, replace(taught, temperature=None), None)
    state = train_teacher(taught, room)

    assert any(not torch.equal(value, state[name]) for name, value in alone.state_dict().items())
    assert all(torch.equal(value, state[name]) for name, value in train_teacher(taught, room).items())
    assert room.key(student, 1) != room.key(student, 1, "teacher") != room.key(student, 0, "teacher")


def test_cutmix_is_not_for_networks_on_tokens(
    digits: ImageDataset, digit_means: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = []

    def spy(images: torch.Tensor, labels: torch.Tensor, key: Key) -> Mixed:
        mixed.append(key)
        return cutmix(images, labels, key)

    monkeypatch.setattr(training, "cutmix", spy)
    config = EvaluationConfig(protocol="hmdc", epochs=2)
    vit = StudentConfig(architecture="vit", options={"patch_size": 8, "depth": 1})
    run_trial(Trial("condensed", vit, 0, 0), StudentTrainer(digit_means, digits, config, 0))
    assert mixed == []
    run_trial(Trial("condensed", MLP, 0, 0), StudentTrainer(digit_means, digits, config, 0))
    assert len(mixed) == len(set(mixed)) == 2


def test_divergence_names_student_images_and_seed(digits: ImageDataset, digit_means: CondensedSet) -> None:
    huge = replace(digit_means, images=digit_means.images * 1e30)

    told = r"student 'mlp' on condensed images, seed 2 of run seed 5: the loss is .* set evaluation.students.mlp.learning_rate"
    with pytest.raises(RunError, match=told):
        run_trial(Trial("condensed", MLP, 2, 0), StudentTrainer(huge, digits, CONFIG, 5))
