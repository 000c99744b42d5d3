from types import SimpleNamespace
from typing import Any

import pytest

from hmdc_ray.search.trial_names import folder_name, number_of, trial_number


@pytest.mark.parametrize(
    ("tag", "trial_id", "number"), [("3_images.ipc=1", "b2044eee", 3), ("2_images.ipc=1", "b2044_00002", 3)]
)
def test_trials_count_from_1_whoever_proposed_them(tag: str, trial_id: str, number: int) -> None:
    trial: Any = SimpleNamespace(experiment_tag=tag, trial_id=trial_id)
    assert trial_number(trial) == number
    assert folder_name(trial) == f"0003-{trial_id}" and number_of(folder_name(trial)) == number
