"""The gradient split over members is the gradient of one joint graph (HMDC section 3.3; N = 2 and
3, masked members)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmdc_ray.actors.local import LocalPool
from hmdc_ray.config import DataConfig
from hmdc_ray.data.dataset import ImageDataset
from hmdc_ray.data.packing import decode
from hmdc_ray.matching.distances import Metric
from hmdc_ray.matching.distillation import Agreement
from hmdc_ray.matching.gradients import (
    agreement_gradient,
    classification_gradient,
    classification_target,
    distillation_target,
    pull_back,
)
from hmdc_ray.matching.ssd import Aligner, common_size, token_mask
from hmdc_ray.models import ImageShape, Network, build
from hmdc_ray.seeding import Key
from parity.joint import JointMember, joint_and_split, joint_targets, relative_error
from parity.runs import MEMBERS, consensus_of, members, parity_run

SHAPE = ImageShape(1, 8, 8)
LABEL = 1
POOLS = [
    pytest.param(("shallow", "deep"), id="two"),
    pytest.param(("deep", "shallow", "vit"), id="three"),
    pytest.param(("deep", "mlp"), id="two-one-masked"),
    pytest.param(("shallow", "mlp", "deep"), id="three-one-masked-and-mixed"),
    pytest.param(("deep", "mlp", "vit"), id="three-one-masked"),
]
EXACT = 1e-9


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Setting:
    """Networks with aligners whose layer mixtures are not at their start, two real images, one
    image of four tiles."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.networks: list[Network] = []
        for index, name in enumerate(names):
            key = Key(0, "network", member=index)
            self.networks.append(build(MEMBERS[name]["architecture"], MEMBERS[name]["options"], SHAPE, 3, key).double())
        taps = [network.taps for network in self.networks]
        size = common_size(taps)
        self.agreement = Agreement([token_mask(some, size) for some in taps])
        self.aligners = [Aligner(some, size, "adaptive").double() for some in taps]
        with torch.no_grad():
            for index, aligner in enumerate(self.aligners):
                for offset, parameter in enumerate(aligner.parameters()):
                    parameter.copy_(noise(*parameter.shape, seed=10 * index + offset) / 2)
        self.images = noise(1, 1, 8, 8, seed=100).requires_grad_()
        self.real = noise(2, 1, 8, 8, seed=101)

    def joint(self) -> list[JointMember]:
        return [
            JointMember(network, [(affine.weight, affine.bias) for affine in aligner.affine], aligner.mixing)  # type: ignore[misc]
            for network, aligner in zip(self.networks, self.aligners, strict=True)
        ]

    def split(self) -> tuple[Tensor, Tensor]:
        """Gradient of the distillation target in three exchanges, and what two of them give."""
        agreement = self.agreement
        synthetic = decode(self.images, 2)
        pairs = list(zip(self.networks, self.aligners, strict=True))
        features_real = [aligner(network.observe(self.real).features) for network, aligner in pairs]
        features = [aligner(network.observe(synthetic).features) for network, aligner in pairs]
        consensus_real = consensus_of(agreement, [part.detach() for part in features_real])
        consensus = consensus_of(agreement, [part.detach() for part in features])
        terms = []
        for index, network in enumerate(self.networks):
            parameters = list(network.parameters())
            h = agreement_gradient(agreement, index, features_real[index], consensus_real, parameters, create_graph=False)
            terms.append(distillation_target(agreement, index, h, features[index], consensus, parameters, self.images))
        detached = torch.stack([term.gradient_ICHW for term in terms]).sum(0)
        share = agreement.mean(torch.stack([term.cotangent_BLTD for term in terms]).sum(0))
        through = [pull_back(part, agreement.own(index, share), self.images) for index, part in enumerate(features)]
        return detached + torch.stack(through).sum(0), detached


@pytest.mark.parametrize("names", POOLS)
def test_distillation_in_three_exchanges_is_exact_and_in_two_is_not(names: tuple[str, ...]) -> None:
    setting = Setting(names)
    joint = joint_targets("mse", setting.joint(), setting.images, decode(setting.images, 2), setting.real, LABEL, distil=True)
    assert joint.distillation is not None
    exact, detached = setting.split()
    assert relative_error(exact, joint.distillation) < EXACT
    assert relative_error(detached, joint.distillation) > 0.01


@pytest.mark.parametrize("metric", ["mse", "cosine", "l1"])
def test_a_members_own_target_is_that_of_the_joint_graph(metric: Metric) -> None:
    setting = Setting(("deep", "vit"))
    synthetic = decode(setting.images, 2)
    joint = joint_targets(metric, setting.joint(), setting.images, synthetic, setting.real, LABEL, distil=False)
    for network, expected in zip(setting.networks, joint.members, strict=True):
        parameters = list(network.parameters())
        real, made = (torch.full((count,), LABEL) for count in (2, 4))
        g_real = classification_gradient(network(setting.real), real, parameters, create_graph=False)
        g = classification_gradient(network(synthetic), made, parameters, create_graph=True)
        _, gradient = classification_target(metric, g_real, g, setting.images, keep_graph=True)
        assert relative_error(gradient, expected) < EXACT


@pytest.mark.parametrize("agreement", ["mse", "standardised"])
@pytest.mark.parametrize("training", ["real", "synthetic"])
@pytest.mark.parametrize("names", POOLS)
def test_whole_workers_and_server_agree_with_the_joint_graph(
    names: tuple[str, ...],
    training: str,
    agreement: str,
    three_digits: ImageDataset,
    three_digits_config: DataConfig,
    tmp_path: Path,
) -> None:
    schedule = {"training": training}
    config = parity_run(three_digits_config, members(*names), schedule, classes_per_call=2, agreement=agreement)
    joint, split = joint_and_split(config, LocalPool(config, three_digits.info, tmp_path), three_digits)
    for found, expected in zip(split.members, joint.members, strict=True):
        assert relative_error(found, expected) < EXACT
    assert split.distillation is not None and joint.distillation is not None
    assert relative_error(split.distillation, joint.distillation) < EXACT
    assert relative_error(split.after - split.before, joint.after - joint.before) < EXACT


@pytest.mark.parametrize("matching", [{"metric": "cosine", "mutual_distillation": False}, {"metric": "l1"}], ids=["dc", "idc"])
def test_whole_pools_with_other_metrics_agree_with_the_joint_graph(
    matching: dict[str, Any], three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = parity_run(three_digits_config, members("deep", "mlp"), **matching)
    joint, split = joint_and_split(config, LocalPool(config, three_digits.info, tmp_path), three_digits)
    assert (split.distillation is None) == (matching["metric"] == "cosine")
    assert relative_error(split.after - split.before, joint.after - joint.before) < EXACT


def test_a_detached_pool_differs_measurably_from_the_joint_graph(
    three_digits: ImageDataset, three_digits_config: DataConfig, tmp_path: Path
) -> None:
    config = parity_run(three_digits_config, members("shallow", "deep"), peer_gradient="detached")
    joint, split = joint_and_split(config, LocalPool(config, three_digits.info, tmp_path), three_digits)
    assert split.distillation is not None and joint.distillation is not None
    assert relative_error(split.distillation, joint.distillation) > 0.01
    for found, expected in zip(split.members, joint.members, strict=True):
        assert relative_error(found, expected) < EXACT
