"""Trainings begun by an earlier version: fields that their records lack, and what has been
corrected since."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from hmdc_ray.config.statistics import OWN
from hmdc_ray.data.schema import DatasetInfo
from hmdc_ray.evaluation.protocol import Recipe
from hmdc_ray.pretrain.plan import Plan

REVISION = 2
"""Revision of the recipes, raised by each correction that leads to other weights; every record
states its own."""


def as_written_today(begun: dict[str, Any], plan: Plan, info: DatasetInfo) -> dict[str, Any]:
    """The identity of a record with all the fields of :meth:`Plan.identity`, as it would be written
    today.

    Args:
        begun: identity in the record, which lacks the fields that offered no choice when it was
            written.
        plan: the training to resume.
        info: description of its data, with the statistics in use.
    """
    # Statistics stated in a configuration were always used, but those recorded with the data were
    # once ignored.
    unsaid: dict[str, Any] = {"data.statistics": OWN if plan.data.statistics is None else info.statistics or OWN}
    without_effect: dict[str, Any] = {}
    defaults = {field.name: str(field.default) for field in fields(Recipe) if field.default is not MISSING}
    for network, recipe in zip(plan.networks, plan.recipes, strict=True):
        defaults["statistics"] = "data" if network.weights == "pretrained" else "own"
        unsaid |= {f"{network.name}.{field}": value for field, value in defaults.items()}
        if not recipe.milestones:  # the rate never falls
            without_effect[f"{network.name}.decay"] = str(recipe.decay)
    return unsaid | begun | without_effect


def corrections(plan: Plan, info: DatasetInfo) -> dict[str, tuple[str, ...]]:
    """Corrections since then that concern this training: a sentence each, with the fields that it
    changed.

    Args:
        plan: the training to resume.
        info: description of its data.
    """
    recipe = plan.recipes[0]
    idc = ("batch", "one_warp", "cutmix_tokens", "cutout_beside_cutmix")
    cropped = any(side % 16 == 4 for side in (info.shape.height, info.shape.width))  # else an eighth rounds alike
    concerned = {
        "protocol idc has batches of 64, where it had 128, one kind of warp in a batch, and CutMix in place of cutout": (
            recipe.one_warp,  # which no other protocol has
            tuple(f"{network.name}.{field}" for network in plan.networks for field in idc),
        ),
        "sides of CutMix boxes truncate, where they were rounded": (recipe.cutmix, ()),
        "crops of a side whose eighth ends in a half reach one pixel further": (
            cropped and recipe.variation == "idc" and "crop" in recipe.families,
            (),
        ),
        "networks on GPUs multiply in the format of matching.precision, where they did in torch's": (
            plan.precision is not None,
            ("GPU format",),
        ),
    }
    return {sentence: changed for sentence, (concerns, changed) in concerned.items() if concerns}
