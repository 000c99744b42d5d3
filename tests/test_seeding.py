from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from hmdc_ray.seeding import Key, forked


def global_states() -> list[Any]:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # type: ignore[index]


KEY = Key(7, "augmentation", member=1, iteration=2, step=3, label=4, batch=5)


def test_every_field_changes_the_number() -> None:
    others = [replace(KEY, stream="network")]
    others += [replace(KEY, **{field.name: getattr(KEY, field.name) + 1}) for field in fields(KEY) if field.name != "stream"]
    assert len({key.number() for key in [KEY, *others]}) == len(fields(KEY)) + 1


def test_fields_are_not_run_together() -> None:
    assert Key(1, "pool", member=12, iteration=3).number() != Key(1, "pool", member=1, iteration=23).number()
    assert Key(1, "pool", member=1).number() != Key(1, "pool", iteration=1).number()


def test_numbers_are_small_enough_for_torch_and_the_same_on_every_machine() -> None:
    numbers = [Key(seed, "pool").number() for seed in (0, 1, 2**63 - 1)]
    assert all(0 <= number < 2**63 for number in numbers)
    assert len(set(numbers)) == 3
    assert Key(0, "network").number() == 4788124058942765817


def test_the_same_key_gives_the_same_draw_whatever_was_drawn_before() -> None:
    first = torch.rand(5, generator=KEY.generator())
    torch.rand(3)
    np.random.default_rng(0).random(3)
    assert torch.equal(first, torch.rand(5, generator=KEY.generator()))
    assert np.array_equal(KEY.numpy().random(5), KEY.numpy().random(5))
    assert not torch.equal(first, torch.rand(5, generator=replace(KEY, step=9).generator()))


def test_forked_draws_from_the_key_and_leaves_the_global_generators_as_they_were() -> None:
    before = global_states()
    with forked(KEY):
        first = torch.rand(5)
    assert global_states() == before
    torch.rand(3)
    with forked(KEY):
        assert torch.equal(first, torch.rand(5))
    with forked(replace(KEY, member=0)):
        assert not torch.equal(first, torch.rand(5))


def test_forked_restores_the_generators_after_an_error() -> None:
    before = global_states()
    with pytest.raises(ZeroDivisionError), forked(KEY):
        torch.rand(5)
        _ = 1 / 0
    assert global_states() == before
