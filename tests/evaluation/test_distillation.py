from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hmdc_ray.evaluation.distillation import Teacher, distillation_loss


def logits(seed: int) -> Tensor:
    return 3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for s_row, t_row in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = (torch.tensor(row, dtype=torch.float64).div(temperature).exp() for row in (s_row, t_row))
        s, t = s / s.sum(), t / t.sum()
        total += sum(float(p * (p / q).log()) for p, q in zip(t, s, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5, 8.0])
def test_the_loss_is_as_defined(temperature: float) -> None:
    found = float(distillation_loss(logits(0), logits(1), temperature))
    assert found == pytest.approx(by_definition(logits(0), logits(1), temperature), rel=1e-12)


def test_a_student_that_agrees_has_no_loss_and_the_order_counts() -> None:
    assert float(distillation_loss(logits(0), logits(0), 1.5)) == pytest.approx(0, abs=1e-15)
    assert float(distillation_loss(logits(0), logits(1), 1.5)) != pytest.approx(
        float(distillation_loss(logits(1), logits(0), 1.5))
    )


def test_gradient_is_that_of_the_softened_difference() -> None:
    student = logits(0).requires_grad_()
    distillation_loss(student, logits(1), 2.0).backward()
    # d/ds of tau^2 KL(p_t || p_s) = tau (p_s - p_t), over the batch size
    expected = 2.0 * ((student.detach() / 2).softmax(1) - (logits(1) / 2).softmax(1)) / 5
    torch.testing.assert_close(student.grad, expected, rtol=1e-12, atol=1e-14)


def test_alpha_weighs_teacher_and_labels_and_the_teacher_has_no_graph() -> None:
    network = nn.Linear(3, 4).double()
    images = torch.ones(5, 3, dtype=torch.float64)
    hard = torch.tensor(2.0, dtype=torch.float64)
    soft = float(distillation_loss(logits(0), network(images), 1.5).detach())
    student = logits(0).requires_grad_()
    for alpha in (0.0, 0.3, 1.0):
        loss = Teacher(network, alpha, 1.5).loss(images, student, hard)
        assert float(loss.detach()) == pytest.approx(alpha * soft + (1 - alpha) * 2.0)
    loss.backward()
    assert student.grad is not None and all(parameter.grad is None for parameter in network.parameters())
