import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import auc

from outskirts import metrics
from outskirts.figures.scores import calibrated, histogram, judged, roc


@pytest.fixture
def axes():
    return Figure().add_subplot()


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    return random.normal(size=40), random.normal(1, size=30)


def test_the_area_under_the_curve_is_the_auroc(axes, scores):
    roc(axes, {"one": scores, "other": scores}, {"one": "label"})
    (line,) = (line for line in axes.lines if line.get_label() == "label")
    accepted_ood, accepted_id = line.get_data()
    assert auc(accepted_ood, accepted_id) == pytest.approx(metrics.auroc(*scores), abs=1e-3)


def test_shares_add_up_and_the_threshold_accepts_95_per_cent(axes, scores):
    histogram(axes, *scores)
    outlines = [patch for patch in axes.patches if patch.get_label() in ("ID images", "OOD images")]
    assert [patch.get_data().values.sum() for patch in outlines] == pytest.approx([1, 1])
    assert axes.lines[0].get_xdata()[0] == pytest.approx(np.quantile(scores[0], 0.95))


def test_infinite_scores_are_drawn_at_the_edge(axes):
    histogram(axes, [0.0, 1.0, 2.0, np.inf], [3.0, -np.inf, np.inf])
    assert np.isfinite(axes.get_xlim()).all()
    histogram(Figure().add_subplot(), [np.inf], [np.inf])


@pytest.mark.parametrize("scores", [[1.0, 1.0 + 3e-16], [1e300] * 3, [0.0], [-1.0 - 2e-16, -1.0]])
def test_scores_that_differ_by_rounding_alone_are_drawn(axes, scores):
    calibrated(axes, scores, scores[0])
    histogram(Figure().add_subplot(), scores, scores)
    for shape in axes.patches:
        assert shape.get_data().values.sum() == pytest.approx(1)


def test_a_threshold_that_was_chosen_before_is_drawn_within_the_axis(axes, scores):
    judged(axes, *scores, 1.25)
    assert axes.lines[0].get_xdata()[0] == 1.25
    other = Figure().add_subplot()
    judged(other, *scores, None)
    assert not other.lines and len(other.patches) == len(axes.patches)
    far = Figure().add_subplot()
    judged(far, *scores, 1e9)
    assert far.lines[0].get_xdata()[0] < 10
