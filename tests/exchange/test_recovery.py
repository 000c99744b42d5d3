"""What a pool goes back to."""

from __future__ import annotations

from hmdc_ray.exchange.recovery import Cut, Health


def test_the_health_of_members_is_kept_with_a_checkpoint() -> None:
    health = Health().with_bad_step("a").with_bad_step("a").with_bad_step("b").without("b")
    assert Health.restored(health.state()) == health


def test_a_cut_refers_to_the_states_of_all() -> None:
    assert Cut(3, "server", {2: "c", 0: "a"}, Health()).references == ["server", "c", "a"]
