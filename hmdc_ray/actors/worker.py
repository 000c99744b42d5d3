"""One pool member as a process hosts it: the plain class behind the ``PoolWorker`` actor, usable in
any process."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from hmdc_ray.config import RunConfig
from hmdc_ray.data.dataset import open_dataset
from hmdc_ray.exchange.call_size import WorkerMemory
from hmdc_ray.exchange.messages import MemberDescription, MemberTaps
from hmdc_ray.matching.alignment import Alignment
from hmdc_ray.matching.footprint import measure
from hmdc_ray.matching.matcher import Matcher
from hmdc_ray.matching.member import Member
from hmdc_ray.matching.trainer import Trainer
from hmdc_ray.models.precision import set_gpu_format
from hmdc_ray.system.memory import free_bytes, own_bytes


class PoolWorker:
    """Hosts one architecture of the pool: network, aligner, optimisers and reader.

    Most verbs of :class:`hmdc_ray.exchange.protocols.WorkerHandle` are methods of its parts, one a
    call, each safe alone.

    Args:
        index: position of the member in the pool.
        config: the run, with its number of threads.
        gpus: number of GPUs of this process, which may be a part of one; None: the process hosts
            the whole pool, which shares the first GPU that there is.
        device: device of the network; None: a GPU if the process may use one and there is one, else
            the CPU.

    Attributes:
        member: the member.
        matcher: its share of the matching.
        trainer: training of its network.
        alignment: training of its aligner.
    """

    def __init__(self, index: int, config: RunConfig, gpus: float | None = None, device: torch.device | None = None) -> None:
        torch.set_num_threads(config.threads)
        member = config.pool.members[index]
        if gpus is None:
            gpus = 1 / len(config.pool.members) if member.num_gpus else 0.0
        self._gpus = gpus
        if device is None:
            device = torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
        if device.type == "cuda":
            set_gpu_format(config.matching.precision)
        self.member = Member(
            index=index,
            seed=config.seed,
            config=member,
            matching=config.matching,
            schedule=config.schedule,
            images=config.images,
            dataset=open_dataset(config.data),
            device=device,
        )
        self.matcher = Matcher(self.member)
        self.trainer = Trainer(self.member)
        self.alignment = Alignment(self.member)

    def build(self) -> MemberDescription:
        """Description of the member in this process."""
        member = self.member
        return MemberDescription(
            name=member.config.name,
            parameters=sum(parameter.numel() for parameter in member.parameters),
            device=str(member.device),
            gpu_ids=(),
            node="",
            pid=os.getpid(),
            threads=torch.get_num_threads(),
            data=member.batches.dataset.info.fingerprint,
            taps=member.taps,
        )

    def measure(self, drawn: Sequence[MemberTaps]) -> WorkerMemory:
        """The memory that the worker's work needs, and what is free for it; to be called before an
        iteration begins.

        Args:
            drawn: taps of the members that it agrees with, its own among them; none without mutual
                distillation.
        """
        member, gpu = self.member, self.member.device.type == "cuda"
        own = torch.cuda.memory_reserved() if gpu else own_bytes()
        free = torch.cuda.mem_get_info()[0] if gpu else free_bytes()
        part = min(1.0, self._gpus) if gpu else 0.0
        return WorkerMemory(member.config.name, "", part, own, free, measure(member, drawn))

    def begin(self, iteration: int) -> MemberTaps:
        """See :meth:`Member.begin`. Any state of an interrupted step is discarded."""
        self.matcher, self.trainer, self.alignment = Matcher(self.member), Trainer(self.member), Alignment(self.member)
        return self.member.begin(iteration)

    def renew(self, iteration: int) -> MemberTaps:
        """Begin the iteration again in its middle, with the real images that were chosen."""
        selection = self.member.selection
        taps = self.begin(iteration)
        self.member.selection = selection
        return taps
