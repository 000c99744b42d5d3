from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from hmdc_ray.errors import InputError
from hmdc_ray.figures.evaluated import accuracy_matrix, gains

from .conftest import EvaluationFactory

LONG = (
    "convnet", "vit", "lenet", "mlp", "alexnet", "vgg11", "resnet18",
    "timm:vit_tiny_patch16_224", "torchvision:mobilenet_v3_small", "my_package.networks:a_tiny_network_of_ours",
)  # fmt: skip
SETS = ("runs/dc-convnet-equal-steps", "pool, no balancing", "pool + GBM", "pool + GBM + MD")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def cells(figure: Figure) -> dict[tuple[float, float], list[str]]:
    """Numbers of the heat map by column and row, from top to bottom."""
    found: dict[tuple[float, float], list[str]] = {}
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        found.setdefault((round(x), round(y)), []).append(text.get_text())
    return found


def bars(figure: Figure) -> dict[str, list[float]]:
    """Heights by series."""
    containers = [made for made in figure.axes[0].containers if isinstance(made, BarContainer)]
    return {str(made.get_label()): [bar.get_height() for bar in made] for made in containers}


def boxes(figure: Figure) -> list[tuple[Text, Bbox]]:
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    return [(text, text.get_window_extent()) for text in found]


def test_matrix_of_one_set_has_a_row_for_each_kind_of_images(evaluation: EvaluationFactory) -> None:
    axes = accuracy_matrix(evaluation()).axes[0]

    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "k-means", "condensed"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["convnet •", "mlp", "lenet"]
    assert axes.get_xlabel() == "• in the pool"


def test_matrix_cells_are_mean_and_half_the_interval(evaluation: EvaluationFactory) -> None:
    found = cells(accuracy_matrix(evaluation()))

    # 0.29, 0.30, 0.31: t(0.975, 2) 0.01 / sqrt(3) = 2.48 points
    assert found[0, 0] == ["30.0", "± 2.5"]
    assert found[2, 2] == ["46.0", "± 2.5"]
    assert len(found) == 9


def test_matrix_of_one_seed_has_no_intervals(evaluation: EvaluationFactory) -> None:
    figure = accuracy_matrix(evaluation(seeds=1))

    assert cells(figure)[1, 0] == ["28.0"]
    assert any("one seed" in text for text in texts(figure))


def test_matrix_of_several_sets_has_a_row_for_each(evaluation: EvaluationFactory) -> None:
    figure = accuracy_matrix(evaluation(sets=("first", "second")))
    axes = figure.axes[0]

    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert [cells(figure)[0, row][0] for row in (0, 1)] == ["50.0", "52.0"]
    assert axes.get_xlabel() == "• in the pool of first"


def test_no_mark_without_a_pool(evaluation: EvaluationFactory) -> None:
    assert not any("•" in text for text in texts(accuracy_matrix(evaluation(pool=()))))


def test_matrix_numbers_contrast_with_their_cells(evaluation: EvaluationFactory) -> None:
    axes = accuracy_matrix(evaluation(LONG, SETS)).axes[0]
    (image,) = axes.images
    array = image.get_array()
    assert array is not None
    colours = image.to_rgba(array)

    def luminance(colour: np.ndarray) -> float:
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour[:3]]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for text in axes.texts:
        x, y = text.get_position()
        ink = luminance(np.ones(3)) if text.get_color() == "white" else luminance(np.array([0x28, 0x28, 0x2E]) / 255)
        dark, light = sorted((ink, luminance(colours[round(y), round(x)])))
        assert (light + 0.05) / (dark + 0.05) > 3.4, text


def test_gains_are_points_over_random_paired_by_seed(evaluation: EvaluationFactory) -> None:
    figure = gains(evaluation())

    assert bars(figure) == {"k-means": pytest.approx([5.0] * 3), "condensed": pytest.approx([20.0] * 3)}
    # every seed is 1 point above the one before with all kinds of images: the differences do not
    # spread, values do
    whiskers = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert whiskers and all(abs(top - bottom) < 1e-9 for (_, bottom), (_, top) in whiskers)


def test_gains_of_several_sets_leave_out_another_number_of_images(evaluation: EvaluationFactory) -> None:
    made = evaluation(sets=("first", "more images", "third"), ipcs=(10, 50, 10))

    assert bars(gains(made)) == {"first": pytest.approx([20.0] * 3), "third": pytest.approx([24.0] * 3)}


def test_gains_of_one_seed_have_no_whiskers(evaluation: EvaluationFactory) -> None:
    figure = gains(evaluation(seeds=1))

    segments = [segment for lines in figure.axes[0].collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert np.isnan([y for segment in segments for _, y in segment]).all()


def test_gains_need_random_images(evaluation: EvaluationFactory) -> None:
    with pytest.raises(InputError, match="no random real images: must be random or both"):
        gains(evaluation(random=False))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("architectures", [LONG[:1], LONG[-1:], LONG[:6], LONG])
@pytest.mark.parametrize("sets", [SETS[:1], SETS])
def test_labels_stay_on_the_page_and_apart(
    evaluation: EvaluationFactory, architectures: tuple[str, ...], sets: tuple[str, ...]
) -> None:
    made = evaluation(architectures, sets, pool=architectures[:3])
    for figure in (accuracy_matrix(made), gains(made)):
        found = boxes(figure)
        page = figure.bbox.padded(3)  # boxes of slanted labels have empty corners
        for text, box in found:
            assert page.contains(*box.min) and page.contains(*box.max), text
        level = [(text, box) for text, box in found if text.get_rotation() in (0, 90)]
        assert len(level) > len(found) / 2
        for (first, one), (second, other) in combinations(level, 2):
            assert not one.padded(-1).overlaps(other), (first, second)


def test_a_dollar_in_a_name_is_no_formula(evaluation: EvaluationFactory) -> None:
    figure = gains(evaluation(sets=("costs 5$", "under_$x_{$")))

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    assert list(bars(figure)) == [r"costs 5\$", r"under_\$x_{\$"]
