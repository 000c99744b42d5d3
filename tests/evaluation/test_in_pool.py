from typing import Any

import pytest

from hmdc_ray.config import MemberConfig, StudentConfig
from hmdc_ray.evaluation.in_pool import in_pool

POOL: list[dict[str, Any]] = [
    {"architecture": "convnet", "options": {"width": 32}},
    {"name": "random", "architecture": "convnet", "random_options": {"pooling": ["max", "avg"], "depth": [1, 2]}},
    {"architecture": "lenet"},
    {"architecture": "nets:small", "options": {"sizes": [1, 2]}},
]


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ({"architecture": "lenet"}, True),
        ({"architecture": "mlp"}, False),
        ({"architecture": "convnet", "options": {"width": 32}}, True),
        ({"architecture": "convnet", "options": {"width": 32, "depth": 3}}, True),  # the default, written out
        ({"architecture": "convnet"}, False),  # width 128
        ({"architecture": "convnet", "options": {"depth": 2, "pooling": "max"}}, True),
        ({"architecture": "convnet", "options": {"depth": 2, "pooling": "max", "width": 64}}, False),
        ({"architecture": "nets:small", "options": {"sizes": (1, 2)}}, True),
        ({"architecture": "nets:small"}, False),
    ],
)
def test_the_very_network_counts(student: dict[str, Any], expected: bool) -> None:
    members = [MemberConfig.model_validate(member) for member in POOL]
    assert in_pool(StudentConfig.model_validate(student), members) is expected
