"""The health of a pool goes through a checkpoint."""

from __future__ import annotations

from hmdc_ray.exchange.recovery import Health


def test_the_health_of_members_is_kept_with_a_checkpoint() -> None:
    health = Health().with_bad_step("a").with_bad_step("a").with_bad_step("b").without("b")
    assert Health.restored(health.state()) == health
