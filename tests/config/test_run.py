"""A whole run's name and its derived numbers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hmdc_ray.config import RunConfig


@pytest.mark.parametrize(
    ("members", "active", "given", "shards"),
    [(1, None, None, 1), (32, None, None, 1), (33, None, None, 2), (65, None, None, 3), (65, 32, None, 1), (65, None, 1, 1)],
)
def test_the_server_has_a_process_for_every_32_members_drawn(
    members: int, active: int | None, given: int | None, shards: int
) -> None:
    pool = {"members": [{"architecture": "mlp", "name": f"m{number}"} for number in range(members)], "active": active}
    config = RunConfig.model_validate({"pool": pool, "cluster": {"server_shards": given}})
    assert config.server_shards == shards


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "", "a\n"])
def test_a_run_cannot_be_called_after_another_folder(name: str) -> None:
    with pytest.raises(ValidationError):
        RunConfig(name=name)
