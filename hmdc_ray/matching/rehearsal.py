"""Steps that a network will have to take, tried before anything starts; they leave the network as
it was.

A network's evaluation mode is tested when it is built. Messages continue a sentence that begins
with the network.

Shapes: B images of a batch, C x H x W an image, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from hmdc_ray.errors import InputError, first_line
from hmdc_ray.matching.gradients import classification_gradient
from hmdc_ray.models.batchnorm import freeze_batchnorm
from hmdc_ray.models.network import Network, describe
from hmdc_ray.models.probe import untouched
from hmdc_ray.models.taps import TapSpec, resolve
from hmdc_ray.seeding import Key, forked

_KEY = Key(0, "network")
_AS_IN_EVALUATION = "must work there as in evaluation mode"
_LARGER_BATCHES = "train it on more at a time, see schedule.batch and schedule.real_images"
_NO_SECOND_DERIVATIVE = ("not implemented", "once_differentiable")
"""Words in torch's errors about operations, its own or a user's, that have no second derivative."""


def rehearse_training(network: Network, images: int, observed: bool = False) -> None:
    """Compute the cross-entropy of a batch in training mode, and its gradients.

    Args:
        network: network that will be trained.
        images: number of images in the batch, at least 1.
        observed: whether the network's taps are used as well.

    Raises:
        InputError: the network has nothing to train, fails, or is another network in training mode.
    """
    with untouched(network), forked(_KEY):
        network.train()
        parameters = _trained(network)
        advice = _LARGER_BATCHES if images == 1 else _AS_IN_EVALUATION
        logits_BK = _forward(network, _images(network, images), observed, advice)
        with _one_line("cannot be trained"):
            loss = F.cross_entropy(logits_BK, torch.zeros(images, dtype=torch.int64, device=logits_BK.device))
            torch.autograd.grad(loss, parameters, allow_unused=True)


def rehearse_matching(network: Network, observed: bool = False) -> None:
    """Compute a gradient of one image as it is matched, in training mode with fixed BatchNorm, and
    its derivative.

    Args:
        network: network of a pool member.
        observed: whether the network's taps are used as well.

    Raises:
        InputError: the network has nothing to train, fails, is another network in training mode, or
            has a layer without a second derivative.
    """
    with untouched(network), forked(_KEY):
        network.train()
        freeze_batchnorm(network, True)  # it also admits a single image
        parameters = _trained(network)
        images_BCHW = _images(network, 1).requires_grad_()
        logits_BK = _forward(network, images_BCHW, observed)
        with _one_line("cannot be matched"):
            gradients = classification_gradient(
                logits_BK, torch.zeros(1, dtype=torch.int64, device=logits_BK.device), parameters, create_graph=True
            )
            squares = torch.stack([(gradient**2).sum() for gradient in gradients]).sum()
            torch.autograd.grad(squares, images_BCHW, allow_unused=True)


def _trained(network: Network) -> list[Parameter]:
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not parameters:
        raise InputError("has no parameter to train, it needs at least one")
    return parameters


def _images(network: Network, count: int) -> Tensor:
    """Noise in place of images, (B, C, H, W), in the network's number format and on its device."""
    shape = network.image_shape
    images_BCHW = torch.randn(count, shape.channels, shape.height, shape.width, generator=_KEY.generator())
    return images_BCHW.to(next(network.parameters()))


def _forward(network: Network, images_BCHW: Tensor, observed: bool, advice: str = _AS_IN_EVALUATION) -> Tensor:
    """Logits (B, K) of a batch in training mode, with graph.

    Raises:
        InputError: the network fails, or its output or a tap is not what it is in evaluation mode.
    """
    features: Sequence[object] = ()
    try:
        if observed:
            observation = network.observe(images_BCHW)
            output, features = observation.logits_BK, observation.features
        else:
            output = network(images_BCHW)
    except (RuntimeError, ValueError, AssertionError, LookupError) as error:
        batch = f"{len(images_BCHW)} image{'' if len(images_BCHW) == 1 else 's'} of {network.image_shape}"
        raise InputError(f"fails in training mode on {batch} ({first_line(error)}): {advice}") from error
    expected = len(images_BCHW), network.classes
    if not isinstance(output, Tensor) or output.shape != expected:
        raise InputError(
            f"returns {describe(output)} in training mode, must return logits of shape {expected} as in evaluation mode: "
            "leave auxiliary outputs out"
        )
    for tap, feature in zip(network.taps, features, strict=False):  # none where they are not observed
        spec = TapSpec(tap.module, tap.kind, (tap.height, tap.width) if tap.kind == "tokens" else None)
        try:
            same = resolve(spec, feature, len(images_BCHW)) == tap
        except InputError as error:
            raise InputError(f"is another network in training mode: {error}") from error
        if not same:
            raise InputError(f"is another network in training mode: tap {tap.module!r} must have the size of evaluation mode")
    return output


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_SECOND_DERIVATIVE):
            raise InputError(
                f"has no second derivative ({first_line(error)}), which gradient matching needs: "
                "choose other layers, or use the network in the evaluation only"
            ) from error
        raise InputError(f"{what} ({first_line(error)}): its logits must be differentiable in its parameters") from error
