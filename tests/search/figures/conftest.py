import pytest

from hmdc_ray.search.records import Axis, RungRecord, TrialRecord

POINTS = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.2, 0.3, 0.5)]


@pytest.fixture
def axes() -> list[Axis]:
    return [Axis("images.learning_rate", "log"), Axis("balance.mode", "choice", ("none", "ema")), Axis("pool.active", "linear")]


@pytest.fixture
def trials() -> list[TrialRecord]:
    """Two that were stopped, two that finished, the last the best, and one that failed."""
    made = []
    for number, point in enumerate(POINTS, start=1):
        rungs = tuple(
            RungRecord(f, f, f, 0.1 * number, 0.05, "mlp", {}, 2.0 * number) for f in (1, 3, 9)[: 1 + 2 * (number > 2)]
        )
        sample = {"images.learning_rate": 10.0**-number, "balance.mode": ["none", "ema"][number % 2], "pool.active": number}
        probabilities = dict(zip(("a", "b", "c"), point, strict=True))
        made.append(TrialRecord(number, "x", "finished" if number > 2 else "stopped", sample, probabilities, rungs))
    made.append(TrialRecord(5, "y", "failed", made[0].sample, {}, (), "died"))
    return made
