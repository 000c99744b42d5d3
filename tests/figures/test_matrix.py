import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hmdc_ray.evaluation.statistics import summarise_values
from hmdc_ray.figures.matrix import matrix


@pytest.mark.filterwarnings("error")
def test_what_a_row_lacks_is_an_empty_cell() -> None:
    value = summarise_values([0.5])
    figure = matrix([("a", {"mlp": value}), ("b", {"mlp": value, "vit": value})], (), "", title="all alike")

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    assert [text.get_text() for text in figure.axes[0].texts] == ["50.0", "–", "50.0", "50.0"]
