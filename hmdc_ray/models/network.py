"""One interface to every network: native images in, logits, taps and embedding out.

Shape suffixes: B images, C channels, H height, W width, K classes, D embedding size.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hmdc_ray.errors import InputError, first_line
from hmdc_ray.models.fast_layers import use_fast_layers
from hmdc_ray.models.normalisation import Normalisation, channel_map
from hmdc_ray.models.probe import evaluating, keep_output, zeros
from hmdc_ray.models.shape import ImageShape
from hmdc_ray.models.taps import Tap, TapSpec, require_module, resolve

__all__ = ["Architecture", "ImageShape", "Network", "Observation", "Tap", "TapSpec"]

_DRY_BATCH = 2


@dataclass(frozen=True)
class Architecture:
    """What a factory returns: a module and what must be known about it.

    Attributes:
        module: network from images (B, C, H, W) to logits (B, K).
        taps: features for mutual distillation, from input to output; empty: the network takes no
            part in it.
        classifier: dotted name of the submodule whose input is the embedding; None: the last
            ``nn.Linear``.
        input_size: (height, width) that the module takes; None: the images' own.
        input_channels: channels that the module takes; None: the images' own. 3 for grey images:
            they are repeated.
        normalisation: normalisation that the module's weights were trained with; None: that of the
            images.
    """

    module: nn.Module
    taps: tuple[TapSpec, ...] = ()
    classifier: str | None = None
    input_size: tuple[int, int] | None = None
    input_channels: int | None = None
    normalisation: Normalisation | None = None


@dataclass(frozen=True)
class Observation:
    """One forward pass seen from outside; every tensor keeps its graph.

    Attributes:
        logits_BK: class scores before softmax.
        features: outputs of the taps, in the order of ``Network.taps``, in the shapes of
            :class:`TapSpec` and the number format of the modules.
        embedding_BD: input of the classifier.
    """

    logits_BK: Tensor
    features: tuple[Tensor, ...]
    embedding_BD: Tensor


class Network(nn.Module):
    """Wraps a module so that it takes the data set's images at their native size and shows its
    features.

    Grey is repeated for a module with three input channels, images that the weights expect in
    another normalisation are brought into it, and those of another size are resized (bilinear,
    ``align_corners=True``). Hooks exist only while :meth:`observe` runs, so a network pickles and
    keeps no tensor alive. In-place activations and fused attention are switched off: the first
    would overwrite captured features, the second has no second derivative, which gradient matching
    needs.

    Attributes:
        taps: the declared features with their sizes, found by one forward pass of zeros.
        image_shape: native shape of the images.
        classes: number K of logits.
        input_channels: number of channels that the module takes.
        space: normalisation of the images; None: unknown, and no image is brought into another.
        own: normalisation that the weights were trained with; None: that of the images. See
            :meth:`set_normalisation`.
        architecture: name given to :func:`hmdc_ray.models.registry.build`; empty for a network made
            in another way.
        options: options given to it, likewise.
        matrix_dtype: format of torch's autocast; None: none. Logits and embedding have the format
            of the images all the same.

    Raises:
        InputError: the module does not admit the images, or its taps, classifier or logits are not
            as declared.
    """

    _factor_C11: Tensor | None
    _shift_C11: Tensor | None

    def __init__(self, architecture: Architecture, shape: ImageShape, classes: int) -> None:
        super().__init__()
        _admit_second_derivative(architecture.module)
        use_fast_layers(architecture.module)
        self.module = architecture.module
        self.image_shape = shape
        self.classes = classes
        self.architecture = ""
        self.options: Mapping[str, Any] = {}
        self.matrix_dtype: torch.dtype | None = None
        self._input_size = architecture.input_size or (shape.height, shape.width)
        self._repeats = _channel_repeats(shape, architecture.input_channels)
        self.input_channels = self._repeats * shape.channels
        # Buffers of the network, not of its module, and in no state dict: files of weights keep
        # their names.
        self.register_buffer("_factor_C11", None, persistent=False)
        self.register_buffer("_shift_C11", None, persistent=False)
        self.set_normalisation(None, architecture.normalisation)
        self._classifier = _find_classifier(architecture)
        names = [name for name, _ in self.module.named_modules(remove_duplicate=False)]
        for spec in architecture.taps:
            require_module(spec.module, names, "tap")
        self.taps: tuple[Tap, ...] = self._dry_run(architecture.taps)

    def set_normalisation(self, space: Normalisation | None, own: Normalisation | None) -> None:
        """Say how images are normalised and how the weights expect them; where the two are equal,
        images stay as they are.

        Args:
            space: normalisation of the images, with their channels; None: unknown.
            own: normalisation that the weights expect, with the module's channels or one for all;
                None: the weights expect the images' normalisation.

        Raises:
            InputError: ``own`` has another number of channels.
        """
        assert space is None or space.channels == self.image_shape.channels, (space, self.image_shape)
        if own is not None:
            own.require_channels(self.input_channels)
        self.space, self.own = space, own
        self._factor_C11 = self._shift_C11 = None
        found = None if space is None or own is None else channel_map(space, own)
        if found is not None:
            like = next(self.module.parameters(), torch.empty(0))
            self._factor_C11, self._shift_C11 = (tensor.to(like.device) for tensor in found)

    @property
    def renormalises(self) -> bool:
        """Whether images are brought into another normalisation before the module sees them."""
        return self._factor_C11 is not None

    @property
    def adapts_images(self) -> bool:
        """Whether the module sees images in another form than they are given in: of other channels,
        size, normalisation or number format."""
        shape = self.image_shape
        resizes = self._input_size != (shape.height, shape.width)
        return self._repeats > 1 or resizes or self.renormalises or self.matrix_dtype is not None

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, C, H, W) of ``image_shape``."""
        shape = self.image_shape
        assert images_BCHW.shape[1:] == (shape.channels, shape.height, shape.width), (images_BCHW.shape, shape)
        if self._repeats > 1:
            images_BCHW = images_BCHW.repeat(1, self._repeats, 1, 1)
        if self._factor_C11 is not None and self._shift_C11 is not None:
            images_BCHW = images_BCHW * self._factor_C11.to(images_BCHW.dtype) + self._shift_C11.to(images_BCHW.dtype)
        if images_BCHW.shape[2:] != self._input_size:
            images_BCHW = F.interpolate(images_BCHW, self._input_size, mode="bilinear", align_corners=True)
        cast = torch.autocast(images_BCHW.device.type, self.matrix_dtype, enabled=self.matrix_dtype is not None)
        with cast, sdpa_kernel(SDPBackend.MATH):  # of torch's attention kernels the one that has a second derivative
            logits_BK: Tensor = self.module(images_BCHW)
        return logits_BK.to(images_BCHW.dtype) if self.matrix_dtype else logits_BK

    def observe(self, images_BCHW: Tensor) -> Observation:
        """One forward pass of ``images_BCHW``, as :meth:`forward`, that also returns taps and
        embedding.

        A tapped module that is called several times gives its last output.
        """
        logits_BK, outputs, inputs = self._capture(images_BCHW, tuple(tap.module for tap in self.taps))
        embedding_BD = inputs[self._classifier].to(images_BCHW.dtype)
        if embedding_BD.ndim > 2:
            embedding_BD = embedding_BD.flatten(1)
        return Observation(logits_BK, tuple(outputs[tap.module] for tap in self.taps), embedding_BD)

    def _capture(self, images_BCHW: Tensor, taps: tuple[str, ...]) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
        """Logits, outputs of the modules ``taps``, and input of the classifier; modules not called
        are missing."""
        outputs: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        with ExitStack() as hooks:
            for name in set(taps):
                tapped = self.module.get_submodule(name)
                hooks.enter_context(tapped.register_forward_hook(partial(keep_output, outputs, name)))
            classifier = self.module.get_submodule(self._classifier)
            keep = partial(_keep_input, inputs, self._classifier)
            hooks.enter_context(classifier.register_forward_pre_hook(keep, with_kwargs=True))
            logits_BK = self(images_BCHW)
        return logits_BK, outputs, inputs

    def _dry_run(self, specs: tuple[TapSpec, ...]) -> tuple[Tap, ...]:
        """Push zeros through, in evaluation mode so that no running statistic moves, and check what
        comes out."""
        shape = self.image_shape
        images_BCHW = zeros(self.module, _DRY_BATCH, shape.channels, shape.height, shape.width)
        try:
            with evaluating(self):
                logits_BK, outputs, inputs = self._capture(images_BCHW, tuple(spec.module for spec in specs))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputError(
                f"images are {shape}, the network fails on them ({first_line(error)}): "
                "its Architecture must name input_size and input_channels if they differ from the images'"
            ) from error
        if not isinstance(logits_BK, Tensor) or logits_BK.shape != (_DRY_BATCH, self.classes):
            expected = (_DRY_BATCH, self.classes)
            raise InputError(f"the network returns {describe(logits_BK)}, must return logits of shape {expected}")
        embedding_BD = inputs.get(self._classifier)
        if not _is_vector(embedding_BD):
            found = describe(embedding_BD)
            raise InputError(f"classifier {self._classifier!r} is given {found}, must be given (images, features)")
        return tuple(resolve(spec, outputs.get(spec.module), _DRY_BATCH) for spec in specs)


def _keep_input(
    inputs: dict[str, Any], name: str, _module: nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    inputs[name] = (*positional, *named.values())[0]


def _is_vector(embedding: object) -> bool:
    """Whether there is one vector an image; maps of one pixel, which a 1x1 convolution classifies,
    are such vectors."""
    if not isinstance(embedding, Tensor) or embedding.ndim < 2 or len(embedding) != _DRY_BATCH:
        return False
    return all(size == 1 for size in embedding.shape[2:])


def describe(value: object) -> str:
    """What a module returned, in words."""
    if value is None:
        return "nothing"
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _find_classifier(architecture: Architecture) -> str:
    """Dotted name of the classifier: the declared one, or the last ``nn.Linear``."""
    modules: dict[str, nn.Module] = dict(architecture.module.named_modules(remove_duplicate=False))
    if architecture.classifier is not None:
        require_module(architecture.classifier, modules, "classifier")
        return architecture.classifier
    linears = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if not linears:
        raise InputError("classifier not found: the network has no nn.Linear, its Architecture must name the classifier")
    return linears[-1]


def _channel_repeats(shape: ImageShape, input_channels: int | None) -> int:
    """How often grey is repeated; 1 when the module takes the images' channels."""
    if input_channels in (None, shape.channels):
        return 1
    if shape.channels != 1 or input_channels != 3:
        raise InputError(f"images are {shape}, must have {input_channels} channels for this network")
    return 3


def _admit_second_derivative(module: nn.Module) -> None:
    for child in module.modules():
        if getattr(child, "inplace", False) is True:
            child.inplace = False  # type: ignore[assignment]  # an activation's or dropout's flag
        if getattr(child, "fused_attn", False) is True:
            child.fused_attn = False  # type: ignore[assignment]  # timm's attention
