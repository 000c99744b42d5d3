"""What a handle asks of the server's actor."""

from __future__ import annotations

from typing import Any

import pytest
from parity.runs import step_plan

from hmdc_ray.actors.handles import ADDING_CALLS, MEMBERS_PER_CALL, RemoteServer

PLAN = step_plan()


class FakeActor:
    """Notes the calls; each returns its name and number."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, verb: str) -> Any:
        actor = self

        class Method:
            def remote(self, plan: object, *arguments: object) -> str:
                actor.calls.append((verb, *arguments))
                return f"{verb} {len(actor.calls)}"

        return Method()


@pytest.mark.parametrize(
    ("members", "size"), [(1, 1), (ADDING_CALLS, 1), (2 * ADDING_CALLS + 1, 3), (9 * ADDING_CALLS, MEMBERS_PER_CALL)]
)
def test_the_server_takes_a_few_of_many_members_in_each_call_and_all_in_order(members: int, size: int) -> None:
    actor = FakeActor()
    server = RemoteServer(actor)
    sent: list[Any] = [f"member {number}" for number in range(members)]
    for call, add, form in (
        (server.consensus, "add_features", "form_consensus"),
        (server.share, "add_cotangents", "mean_cotangents"),
        (server.balance_gradients, "add_gradients", "balance_chunk"),
    ):
        actor.calls.clear()
        call(PLAN, *sent)
        expected = [(add, first, *sent[first : first + size]) for first in range(0, members, size)]
        assert actor.calls == [*expected, (form, *(f"{add} {number + 1}" for number in range(len(expected))))]
