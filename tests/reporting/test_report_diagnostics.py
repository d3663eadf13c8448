"""Charts and warnings of a training on its page."""

import json
from pathlib import Path
from typing import Any

import pytest

from outskirts.figures.diagnostics import diagnostics
from outskirts.files import write_text
from outskirts.reporting import report


def log(start: int = 10, steps: int = 40, warnings: tuple[int, int] = (0, 0)) -> list[dict[str, object]]:
    """A log of NPOS that makes outliers from step `start` on and warns from one step until before another."""
    lines: list[dict[str, object]] = []
    for step in range(1, steps + 1):
        made = step >= start
        line = {"kind": "train", "step": step, "epoch": step / 10, "loss": 1.0}
        line |= {"angle_between": 80.0 + step / 10, "angle_nearest": 60.0, "angle_own": 30.0, "ready": made * 0.5}
        # The first average with outliers is diluted by steps without them.
        share = made * (0.3 if step == start else 1)
        line |= {"kept_distance": 0.9 * share, "rejected_distance": 0.6 * share, "boundary_distance": 0.4 * share}
        line |= {"outlier_accuracy": 0.75 * share}
        if warnings[0] <= step < warnings[1]:
            line["warning"] = f"Collapsed <for> {step} steps: try a lower --lr."
        lines.append(line)
    return [*lines, {"kind": "val", "step": steps, "epoch": steps / 10, "loss": 0.5, "accuracy": 0.9}]


def logged(folder: Path, lines: list[dict[str, object]]) -> str:
    """The page on a run with this log."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return report([folder], folder).read_text(encoding="utf-8")


TITLES = (
    "Angles between classes",
    "Classes with outliers",
    "Distance from the class",
    "Images and outliers told apart",
)


def test_the_diagnostics_in_the_log_are_drawn_and_explained(bare: Path, parsed: Any) -> None:
    page = logged(bare, log())
    labels = [attrs["aria-label"] for tag, attrs in parsed(page).tags if tag == "svg"]
    assert labels[2:] == [f"{title} against the epoch, run bare" for title in TITLES]
    for chart in diagnostics(log()):
        assert page.count(f"<strong>{chart.title}</strong>") == 1
        assert page.count(chart.explanation) == 1
        for name in chart.curves if len(chart.curves) > 1 else ():
            assert page.count(f">{name}</text>") == 1, name
    assert 'role="note"' not in page


def test_without_diagnostics_in_the_log_there_is_nothing_of_them(page: str) -> None:
    assert not [title for title in TITLES if title in page]
    assert 'role="note"' not in page


def test_steps_without_outliers_are_no_distances() -> None:
    charts = {chart.title: chart.curves for chart in diagnostics(log(start=10, steps=40))}
    assert list(charts) == list(TITLES)
    distances = charts["Distance from the class"]
    assert distances.keys() == {"candidates kept", "candidates rejected", "images at the boundary"}
    assert distances["candidates kept"] == [(step / 10, 0.9) for step in range(11, 41)]
    assert charts["Images and outliers told apart"]["accuracy"][0] == (1.1, 75.0)
    assert charts["Classes with outliers"]["classes ready"][8:10] == [(0.9, 0.0), (1.0, 50.0)]
    assert len(charts["Angles between classes"]["nearest two prototypes"]) == 40


def test_a_training_without_outliers_or_without_distances_has_fewer_charts(bare: Path) -> None:
    assert [chart.title for chart in diagnostics(log(start=99))] == list(TITLES[:2])
    # Outliers of pixels lie at no distance, and no class has to be ready.
    keys = ("kind", "step", "epoch", "loss", "outlier_accuracy")
    pixels = [{key: line[key] for key in keys if key in line} for line in log(start=10)]
    (chart,) = diagnostics(pixels)
    assert chart.title == TITLES[3]
    assert {value for _, value in chart.curves["accuracy"]} == {75.0}
    assert logged(bare, pixels).count("<svg") == 2


def test_a_log_of_one_line_is_drawn(bare: Path) -> None:
    assert logged(bare, log(steps=1)).count("<svg") == 4


@pytest.mark.parametrize(
    ("when", "text", "latest"),
    [
        ((5, 21), "epochs 0.5 to 2.0, gone afterwards.", 20),
        ((5, 41), "epochs 0.5 to 4.0.", 40),
        ((40, 41), "epoch 4.0.", 40),
    ],
)
def test_a_warning_is_shown_once_with_its_time(
    bare: Path, when: tuple[int, int], text: str, latest: int, parsed: Any
) -> None:
    page = logged(bare, log(warnings=when))
    parsed(page)
    assert page.count('role="note"') == page.count("Collapsed &lt;for&gt;") == 1
    assert f"<strong>Warning of the training, {text}</strong>\nCollapsed &lt;for&gt; {latest} steps: " in page
    assert 'try a lower <span class="option">--lr</span>.</p>' in page
    assert page.index('role="note"') < page.index('id="how-to-read"')
