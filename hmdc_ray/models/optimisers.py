"""torch's optimisers, without its compiler.

The methods of an optimiser import torch's compiler when they are first called, to have it leave
them alone. That takes two seconds of processor time in every process, and nothing here compiles an
optimiser: these call what the methods wrap.
"""

from __future__ import annotations

from inspect import unwrap

import torch
from torch.optim import Optimizer


class _Plain(Optimizer):
    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class SGD(_Plain, torch.optim.SGD):
    """See :class:`torch.optim.SGD`; not for differentiating through a step."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class Adam(_Plain, torch.optim.Adam):
    """See :class:`torch.optim.Adam`; not for differentiating through a step."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
