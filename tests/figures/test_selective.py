import numpy as np
import pytest
from matplotlib.figure import Figure

from outskirts.evaluation.reliability import reliability as bins_of
from outskirts.evaluation.selective import risk_coverage as curve_of
from outskirts.figures.selective import reliability, risk_coverage


def test_the_curve_is_drawn_in_per_cent():
    axes = Figure().add_subplot()
    curve = curve_of([False, False, True, True], [0.0, 1.0, 2.0, 3.0])
    risk_coverage(axes, {"by score": curve}, kept=0.75)
    line, mark = axes.lines
    assert line.get_xdata().tolist() == [25, 50, 75, 100] and line.get_ydata()[-1] == 50
    assert mark.get_xdata()[0] == 75 and axes.get_ylim()[1] > 50
    risk_coverage(Figure().add_subplot(), {"by score": curve_of([False], [0.0])})


def test_empty_bins_have_no_point():
    axes = Figure().add_subplot()
    bins = bins_of([0.95, 0.9, 0.1], [True, False, True], 5)
    reliability(axes, bins.confidence, bins.accuracy, bins.counts)
    points = axes.collections[-1].get_offsets()
    assert np.asarray(points).tolist() == [pytest.approx([10, 100]), pytest.approx([92.5, 50])]
