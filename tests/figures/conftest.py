from collections.abc import Callable, Sequence

import pytest
from evaluations import evaluation_of

from hmdc_ray.evaluation.report import Evaluation, JudgedSet, Row
from hmdc_ray.evaluation.statistics import Summary, summarise_values

EvaluationFactory = Callable[..., Evaluation]


def summary(mean: float, seeds: int) -> Summary:
    """Values about a mean; the middle of an odd number of them is the mean itself."""
    return summarise_values([mean + 0.01 * (seed - (seeds - 1) / 2) for seed in range(seeds)])


@pytest.fixture
def evaluation() -> EvaluationFactory:
    def make(
        architectures: Sequence[str] = ("convnet", "mlp", "lenet"),
        sets: Sequence[str] = ("condensed",),
        *,
        seeds: int = 3,
        pool: Sequence[str] = ("convnet",),
        random: bool = True,
        kmeans: bool = True,
        ipcs: Sequence[int] = (),
    ) -> Evaluation:
        """Accuracies 0.3 (random), 0.35 (k-means), 0.5, 0.52, ... (sets), less 0.02 for each
        further architecture."""

        def values(base: float) -> dict[str, Summary]:
            return {name: summary(base - 0.02 * place, seeds) for place, name in enumerate(architectures)}

        judged = tuple(
            JudgedSet(name, f"{index}", (*ipcs, *[10] * len(sets))[index], 1, None, values(0.5 + 0.02 * index), None)
            for index, name in enumerate(sets)
        )
        rows = [
            Row(
                architecture=name,
                in_pool=name in pool,
                condensed=judged[0].summaries[name],
                random=values(0.3)[name] if random else None,
                kmeans=values(0.35)[name] if kmeans else None,
                options={},
            )
            for name in architectures
        ]
        return evaluation_of(rows, seeds=seeds, ipc=judged[0].ipc, sets=judged)

    return make
