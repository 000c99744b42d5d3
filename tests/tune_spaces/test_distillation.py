from bases import BASES

from tune_spaces import distillation
from tune_spaces.fields import replace


def test_a_draw_is_a_distillation_of_one_temperature_by_the_teacher_of_the_base() -> None:
    base = BASES["digits"]
    assert base.evaluation.distillation is None
    sample = {distillation.ALPHA: 0.25, distillation.TEMPERATURES: 3.0}
    for given, teacher in ((base, "convnet"), (replace(base, {"evaluation.distillation.teacher": "mlp"}), "mlp")):
        made = distillation.apply(given, sample).evaluation.distillation
        assert made is not None and (made.alpha, made.temperatures, made.teacher.architecture) == (0.25, (3.0,), teacher)
