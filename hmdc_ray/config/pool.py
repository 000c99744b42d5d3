"""The pool: its members, and how they are drawn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from hmdc_ray.config.base import AUTO, Auto, NetworkSection, Section, require_plain, require_unique

PROBABILITY_TOLERANCE = 1e-6
"""How far from 1 the sum of probabilities may be."""

RESERVED_NAMES = frozenset({"server", "distillation", "health"})
"""Names that members cannot have, because records and checkpoints use them."""


class MemberConfig(NetworkSection):
    """One member of the pool: a network, how often it takes part, and where it runs."""

    probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability, 0 to 1, of being drawn first for an iteration; they sum to 1; null for all: equal.",
    )
    random_options: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], AfterValidator(require_plain)] = Field(
        {},
        description="Options redrawn uniformly whenever the network starts afresh: names and lists of values.",
    )
    learning_rate: float = Field(
        0.01, gt=0, le=100, description="Learning rate, up to 100, of the network's SGD between image steps."
    )
    loss_weight: float = Field(
        1.0, ge=0, le=1e6, description="Factor lambda, 0 to 1e6, of this member's target in the image update."
    )
    cutmix: bool = Field(
        False, description="CutMix (probability 0.5) while training this member on real images; not for a ViT."
    )
    num_cpus: Annotated[float, Field(gt=0)] | Auto = Field(
        AUTO, description="Logical CPUs of the member's actor, more than 0; auto: the node's CPUs shared over the actors."
    )
    num_gpus: Annotated[float, Field(ge=0)] | Auto = Field(
        AUTO,
        description="GPUs of the member's actor, may be a fraction; 0: CPU; auto: one, or an equal part of one where there are"
        " fewer GPUs than members; CPU where there is none.",
    )
    replicas: int = Field(
        1, ge=1, description="Actors that host this member and share its classes, at least 1, at most the number of classes."
    )
    labels: dict[str, str] = Field(
        {}, description="Labels of the nodes that may host the member: names and values, as Ray's label selectors take them."
    )
    resources: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Custom Ray resources of the member's actor: names and amounts."
    )

    @property
    def gpus(self) -> float:
        """Number of GPUs of the member's actor, once it is resolved."""
        assert self.num_gpus != AUTO, f"num_gpus of {self.name} is not resolved, see hmdc_ray.actors.resources"
        return self.num_gpus


class PoolConfig(Section):
    """The networks that the synthetic images are learned with."""

    members: tuple[MemberConfig, ...] = Field(
        ({"architecture": "convnet"},),  # type: ignore[arg-type]  # validated into MemberConfig
        min_length=1,
        strict=False,
        description="The pool's members, in the order in which their gradients are summed.",
    )
    active: int | None = Field(
        None, ge=1, description="Members drawn for an iteration, by probability without replacement; null: all of the pool."
    )
    main: str | None = Field(None, description="Name of the main member; null: the first.")
    bad_steps: int = Field(
        3,
        ge=1,
        description="Steps with a gradient that is not finite after which a member is put back to fresh weights; after as many"
        " more it leaves the pool.",
    )
    warmup: int = Field(0, ge=0, description="Number of iterations at the start of the run with the main member alone.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> PoolConfig:
        require_unique(self.members)
        names = [member.name for member in self.members]
        for reserved in RESERVED_NAMES & set(names):
            raise ValueError(
                f"a member is called {reserved!r}, which records and checkpoints use themselves: give it another 'name'"
            )
        if self.main is not None and self.main not in names:
            raise ValueError(f"main is {self.main!r}, which is not a member: known are {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _members_can_be_drawn(self) -> PoolConfig:
        given = [member.probability for member in self.members if member.probability is not None]
        if given and len(given) < len(self.members):
            missing = next(member.name for member in self.members if member.probability is None)
            raise ValueError(f"member {missing!r} has no probability, but others have: give it to all members or to none")
        if given and abs(sum(given) - 1) > PROBABILITY_TOLERANCE:
            raise ValueError(f"the members' probabilities sum to {sum(given):.6g}: must be 1")
        positive = sum(probability > 0 for probability in self.probabilities)
        if self.drawn > positive:
            raise ValueError(
                f"active is {self.drawn if self.active is None else self.active}, but only {positive} of {len(self.members)} "
                "members have a probability above 0: draw fewer, or give more members a probability"
            )
        return self

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Probability of every member; equal ones when none are given."""
        equal = 1 / len(self.members)
        return tuple(equal if member.probability is None else member.probability for member in self.members)

    @property
    def drawn(self) -> int:
        """Number of members that take part in an iteration after the warm-up."""
        return len(self.members) if self.active is None else self.active

    @property
    def main_index(self) -> int:
        """Position of the main member in ``members``."""
        return 0 if self.main is None else [member.name for member in self.members].index(self.main)
