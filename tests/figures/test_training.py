from matplotlib.figure import Figure

from outskirts.figures.panels import panels
from outskirts.figures.training import drawings

RECORDS = [
    {"kind": "data", "step": 0, "epoch": 0.0},
    *({"kind": "train", "step": s, "epoch": s / 10, "loss": 1.0, "loss_outlier": 0.5, "ready": 0.5} for s in range(20)),
    {"kind": "val", "step": 20, "epoch": 2.0, "loss": 0.5, "accuracy": 0.9},
]


def test_there_is_a_drawing_for_all_that_is_in_the_log():
    found = drawings(RECORDS)
    assert list(found) == ["Losses", "Validation accuracy", "Classes with outliers"]
    axes = Figure().add_subplot()
    found["Losses"](axes)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["train: loss", "train: loss outlier", "val: loss"]
    assert drawings(RECORDS[:1]) == {}


def test_panels_stand_in_lines():
    figure = panels({f"${i}$": lambda axes: axes.plot([0, 1], label="x") for i in range(5)}, "a $ b", legend=True)
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)
    assert len(figure.legends) == 1
