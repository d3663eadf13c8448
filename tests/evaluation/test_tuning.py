from dataclasses import replace

import pytest
import torch

import outskirts as osk
from outskirts import Outputs, OutskirtsError
from outskirts.detectors import KNN, ReAct, create
from outskirts.evaluation.metrics import auroc
from outskirts.evaluation.results import TUNING
from outskirts.evaluation.tuning import grid_of, own_outliers, tune


def test_the_grid_of_a_detector():
    assert [point.k for point in grid_of(KNN())] == [50, 100, 200, 500, 1000]
    assert [point.params for point in grid_of(KNN(space="projection"))][1] == {
        "k": 100,
        "space": "projection",
        "index": "exact",
    }
    # What was asked for stays.
    assert [point.k for point in grid_of(KNN(k=7))] == [7]
    assert len(grid_of(create("msp"))) == 1
    pairs = [(point.low, point.high) for point in grid_of(create("adascale"))]
    assert len(pairs) == 45 and all(low <= high for low, high in pairs)
    # OpenOOD's grid of ODIN, and that published with i-ODIN, take passes.
    for name, count in (("odin", 8), ("iodin", 28)):
        assert len(grid_of(create(name))) == 1 and len(grid_of(create(name), passes=True)) == count
    assert [point.epsilon for point in grid_of(create("odin:temperature=10"), passes=True)] == [0.0014, 0.0028]


@pytest.fixture
def sets():
    g = torch.Generator().manual_seed(0)
    head = torch.randn(3, 6, generator=g), torch.zeros(3)

    def outputs(n, shift):
        features = torch.randn(n, 6, generator=g).abs() + shift
        return Outputs(features, features @ head[0].T + head[1], torch.arange(n) % 3, head)

    return outputs(120, 0.0), outputs(60, 0.0), outputs(60, 0.6)


def test_the_best_point_is_taken_and_all_are_told(sets):
    train, val, outliers = sets
    found = tune(
        {"knn": KNN(), "react": ReAct(), "msp": create("msp")}, train=train, val=val, outliers=outliers, name="o"
    )
    # Neighbours beyond the 120 training images cannot be.
    assert [(row.detector, row.params) for row in found.rows][:2] == [
        ("knn", '{"index": "exact", "k": 50, "space": "features"}'),
        ("knn", '{"index": "exact", "k": 100, "space": "features"}'),
    ]
    assert {row.group for row in found.rows} == {TUNING} and len(found.rows) == 7
    # By its one point, a detector without a grid can be compared with the others.
    assert [row.detector for row in found.rows].count("msp") == 1
    for label, of in (("knn", KNN), ("react", ReAct)):
        areas = {}
        for point in grid_of(of()):
            try:
                point.fit(train)
            except OutskirtsError:
                continue
            areas[str(point.params)] = auroc(point.score(val), point.score(outliers))
        assert areas[str(found.detectors[label].params)] == max(areas.values())
    assert found.detectors["msp"].name == "msp"


def test_outliers_of_ones_own(finished, bugs):
    images = osk.open(bugs / "train")
    made = own_outliers(osk.load(finished), images)
    assert len(made) == len(images) and (made.labels == -1).all()
    assert made.fingerprint == own_outliers(osk.load(finished), images).fingerprint
    assert not set(made.keys) & set(images.keys)


def test_outliers_are_read_as_they_were_made_whatever_the_range_of_images(finished, bugs):
    """The range of wide images would make all of them black."""
    classifier, images = osk.load(finished), osk.open(bugs / "train")
    made = own_outliers(classifier, images)
    wide = replace(classifier.transform, reading=replace(classifier.transform.reading, levels=(0.0, 60_000.0)))
    assert torch.equal(made.image(0, wide.reading), made.image(0, classifier.transform.reading))
    assert made.image(0, wide.reading).unique().numel() > 10


def test_where_no_parameter_is_chosen_none_is_named():
    results = osk.evaluate(*_outputs(), ["msp"])
    table = replace(results, tuning=(replace(results.rows[0], dataset="own outliers"),)).table()
    assert "own outliers: no parameter, as these detectors have none to choose." in table.caption


def _outputs():
    ones, zeros = torch.eye(3).repeat(4, 1), torch.zeros(5, 3)
    return osk.Outputs(ones, ones), {"zeros": osk.Outputs(zeros, zeros)}
