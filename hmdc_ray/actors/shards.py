"""Several processes that share the classes of the parameter server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmdc_ray.actors.handles import RemoteServer
from hmdc_ray.actors.session import Ref
from hmdc_ray.exchange.messages import MemberTaps
from hmdc_ray.exchange.schedule import StepPlan


class Shards:
    """The shards as one server; see :class:`hmdc_ray.server.parameter_server.ParameterServer` for the verbs.

    Calls about one chunk of classes go to the shard that holds them, see :meth:`shard_for`.

    Args:
        servers: handles of the shards, at least one.
        parts: labels of the classes of each shard, from :func:`hmdc_ray.exchange.schedule.class_parts`.
    """

    def __init__(self, servers: Sequence[RemoteServer], parts: Sequence[Sequence[int]]) -> None:
        self.servers = list(servers)
        self._holders = {label: server for server, labels in zip(servers, parts, strict=True) for label in labels}

    def shard_for(self, labels: tuple[int, ...]) -> RemoteServer:
        """The shard that holds these classes, which belong to one chunk."""
        return self._holders[labels[0]]

    def begin(self, iteration: int, members: tuple[int, ...], drawn: Sequence[MemberTaps]) -> Ref:
        return self._all(lambda server: server.begin(iteration, members, drawn))

    def renewed(self, position: int) -> Ref:
        return self._all(lambda server: server.renewed(position))

    def snapshot(self) -> Ref:
        return self._all(lambda server: server.snapshot())

    def apply(self, plan: StepPlan) -> tuple[Ref, Ref]:
        applied = [server.apply(plan) for server in self.servers]
        return self._joined([snapshot for snapshot, _ in applied]), self._joined([held for _, held in applied])

    def save(self, version: int, names: tuple[str, ...], *states: Ref) -> Ref:
        return self.servers[0].save(version, names, *states)

    def saved(self, version: int, name: str) -> Ref:
        return self.servers[0].saved(version, name)

    def state(self) -> Ref:
        return self._all(lambda server: server.state())

    def restore(self, state: Ref, with_balance: bool) -> Ref:
        return self._all(lambda server: server.restore(state, with_balance))

    def _all(self, call: Callable[[RemoteServer], Ref]) -> Ref:
        return self._joined([call(server) for server in self.servers])

    def _joined(self, parts: Sequence[Ref]) -> Ref:
        return parts[0] if len(parts) == 1 else self.servers[0].joined(*parts)
