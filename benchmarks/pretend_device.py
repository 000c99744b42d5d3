"""A device that this machine does not have: tensors that say they lie on a GPU, and are as strict
about it.

Their values are in CPU tensors that only this module sees, so that results are those of the CPU. An
operation on tensors of two devices is an error, as is a CPU generator for a tensor of the device.
What a GPU would wait for is counted: copies to it, copies from it, and looks at its values that
decide what the host does next. It has no autocast.

It is torch's backend ``privateuse1``, which a process can name once and keeps. That happens when
this module is imported, which must be before the process' first derivative: torch then counts the
devices there are.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"

Kind = Literal["copies to the device", "copies from the device", "synchronisations"]

aten = torch.ops.aten

_LOOKS = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.is_nonzero, aten.masked_select, aten._unique2}
"""Operators after which the host knows values, or sizes that depend on values."""

_PACKAGE = "hmdc_ray"


class Waits:
    """What a device had to do with the host.

    Attributes:
        counts: number by kind and by the place in the package that asked for it.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[Kind, str]] = Counter()

    def add(self, kind: Kind) -> None:
        """Count one, for the innermost function of the package that is running."""
        self.counts[kind, _place(sys._getframe(1))] += 1

    def total(self, kind: Kind) -> int:
        """The number of a kind."""
        return sum(count for (other, _), count in self.counts.items() if other == kind)


def _place(frame: FrameType | None) -> str:
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == _PACKAGE:
            return f"{module.removeprefix(_PACKAGE + '.')}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


class _Module:
    """What torch asks of a backend, as ``torch.pretend``.

    Attributes:
        free: free bytes of the device's memory.
        there: whether torch's own layers may find the device, which they would use.
    """

    free = 2**30
    there = False

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return self.there

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def manual_seed_all(self, seed: int) -> None:
        """The device draws with the CPU's own generator."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []

    def mem_get_info(self, device: object = None) -> tuple[int, int]:
        return self.free, 2**30

    def _is_in_bad_fork(self) -> bool:
        return False


_BACKEND = _Module()
_setup_privateuseone_for_python_backend(NAME, _BACKEND)


class OnDevice(Tensor):
    """A tensor of the device.

    Attributes:
        inside: CPU tensor with its values.
    """

    inside: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: Tensor) -> OnDevice:  # noqa: D102
        like: dict[str, Any] = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        with torch.inference_mode(False):  # torch allows no views of tensors from before that mode otherwise
            made: Any = torch.Tensor._make_wrapper_subclass(cls, values.shape, device=torch.device(NAME, 0), **like)
        made.inside = values
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func} on a tensor of the device, outside of the block that pretends it")

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        return f"OnDevice({tuple(self.shape)}, {self.dtype})"


@contextmanager
def pretend_device(free: int = 2**30) -> Iterator[tuple[torch.device, Waits]]:
    """The device, usable within the block, and what it has to do with the host.

    Args:
        free: bytes that it says are free in its memory.
    """
    module, waits = _BACKEND, Waits()
    before = module.free, module.there
    module.free, module.there = free, True
    try:
        with _Operators(waits), _Functions(waits):
            yield torch.device(NAME, 0), waits
    finally:
        module.free, module.there = before


class _Functions(TorchFunctionMode):
    """Functions that torch does not show to a device in Python."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and _is_ours(kwargs.get("device")):
            return _made(*args, **kwargs)
        if func is Tensor.new_tensor and isinstance(args[0], OnDevice):
            return _made(*args[1:], **{"dtype": args[0].dtype, "device": args[0].device, **kwargs})
        if func is Tensor.tolist and isinstance(args[0], OnDevice):
            self._waits.add("copies from the device")
            return args[0].inside.tolist()
        return func(*args, **kwargs)


def _made(data: Any, *, device: torch.device, requires_grad: bool = False, **options: Any) -> Tensor:
    """``torch.tensor`` for the device: made on the CPU, and copied."""
    return torch.tensor(data, **options).to(device).requires_grad_(requires_grad)


class _Operators(TorchDispatchMode):
    """Runs operators of the device on the CPU."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        ours = [leaf for leaf in leaves if isinstance(leaf, OnDevice)]
        if not ours and not any(_is_ours(leaf) for leaf in leaves):
            return func(*args, **kwargs)
        if _is_composite(func):  # in inference mode it is not yet taken apart, into copies for example
            with self:
                return func.decompose(*args, **kwargs)
        if func.overloadpacket in (aten._to_copy, aten.copy_):
            return self._copy(func, args, kwargs)
        _refuse(func, args, kwargs)
        if func.overloadpacket in _LOOKS or _has_mask(func, args):
            self._waits.add("synchronisations")
        return _on_device(func(*_hidden(args), **_hidden(kwargs)), ours)

    def _copy(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = func.overloadpacket is aten._to_copy
        source, target = (args[0], kwargs.get("device") or args[0].device) if made else (args[1], args[0].device)
        if _is_ours(target) != _is_ours(source.device):
            self._waits.add("copies to the device" if _is_ours(target) else "copies from the device")
        if not made:
            func(*_hidden(args))
            return args[0]
        kwargs.pop("non_blocking", None)
        values = func(_hidden(source), **{**kwargs, "device": torch.device("cpu")})
        return OnDevice(values) if _is_ours(target) else values

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: to skip its compiler, torch would import it."""
        return False


def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _refuse(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse to mix devices; single values of the CPU may enter, as on a GPU."""
    strangers = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and not isinstance(leaf, OnDevice)]
    shapes = [tuple(tensor.shape) for tensor in strangers if tensor.ndim]
    if shapes:
        raise RuntimeError(f"{func}: expected all tensors on {NAME}:0, found {shapes} on the CPU")
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: expected a generator of {NAME}:0, found one of the CPU")


def _has_mask(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a tensor is indexed by a mask, whose number of entries a device does not know."""
    indexed = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_)
    return indexed and any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])


def _is_ours(leaf: object) -> bool:
    return str(leaf).partition(":")[0] == NAME if isinstance(leaf, torch.device | str) else False


def _hidden(values: Any) -> Any:
    """Arguments as the CPU takes them."""

    def one(leaf: Any) -> Any:
        if isinstance(leaf, OnDevice):
            return leaf.inside
        return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

    return tree_map(one, values)


def _on_device(results: Any, given: list[OnDevice]) -> Any:
    """Results as the device gives them: what was changed in place is the tensor that was given."""
    known = {id(tensor.inside): tensor for tensor in given}
    return tree_map(
        lambda leaf: known[id(leaf)] if id(leaf) in known else OnDevice(leaf) if isinstance(leaf, Tensor) else leaf, results
    )
