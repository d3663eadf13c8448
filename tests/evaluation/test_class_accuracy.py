"""Accuracies of classes and their mean, beside plain loops; and how often the interval of the mean holds it."""

import csv

import numpy as np
import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError, metrics
from outskirts.data.imageset import ImageSet
from outskirts.evaluation.class_accuracy import (
    ClassAccuracy,
    balanced_accuracy,
    class_accuracies,
    never_predicted,
    uneven,
)
from outskirts.evaluation.evaluate import evaluate
from outskirts.evaluation.evaluate_run import evaluate_run
from outskirts.evaluation.results import COLUMNS, Results
from outskirts.extraction.outputs import Outputs
from outskirts.files import load_json, load_tensors, save_tensors
from outskirts.reporting import report

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def outputs():
    """50 images of the first class, 8 of the second, none of the third, 2 of the fourth, never predicted."""
    labels = torch.tensor([0] * 50 + [1] * 8 + [3] * 2)
    logits = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(4)[labels]
    logits[:, 3] = -9
    return Outputs(logits, logits, labels)


def recalls(outputs):
    """The accuracy of each class that has images, by a loop."""
    pairs = list(zip(outputs.labels.tolist(), outputs.logits.argmax(1).tolist()))
    present = sorted({label for label, _ in pairs})
    return {c: np.mean([predicted == c for label, predicted in pairs if label == c]) for c in present}


def test_classes_by_hand(outputs):
    found = class_accuracies(outputs, NAMES)
    predicted = outputs.logits.argmax(1)
    expected = recalls(outputs)
    assert [(one.label, one.n) for one in found] == [("a", 50), ("b", 8), ("d", 2)]
    for one, (c, share) in zip(found, expected.items(), strict=True):
        assert one.accuracy == pytest.approx(share, abs=1e-12)
        assert one.predicted == int((predicted == c).sum())
        assert (one.accuracy_lo, one.accuracy_hi) == metrics.wilson_interval(round(share * one.n), one.n)


def test_results_have_the_mean_of_the_classes(outputs):
    other = Outputs(torch.zeros(5, 4), torch.zeros(5, 4))
    row = evaluate(outputs, {"other": other}, ["msp"]).rows[0]
    shares = list(recalls(outputs).values())
    assert row.id_balanced_accuracy == pytest.approx(np.mean(shares), abs=1e-12)
    hits = [share * n for share, n in zip(shares, (50, 8, 2))]
    expected = metrics.balanced_accuracy_interval(hits, [50, 8, 2])
    assert (row.id_balanced_accuracy_lo, row.id_balanced_accuracy_hi) == pytest.approx(expected)
    for labels in (None, torch.full((60,), -1)):
        row = evaluate(Outputs(outputs.features, outputs.logits, labels), {"other": other}, ["msp"]).rows[0]
        assert row.id_balanced_accuracy is None and row.id_balanced_accuracy_hi is None


def test_with_as_many_images_of_each_class_it_is_the_accuracy():
    labels = torch.arange(40) % 4
    right = torch.rand(40, generator=torch.Generator().manual_seed(1)) < 0.7
    assert balanced_accuracy(labels, right)[0] == pytest.approx(right.double().mean().item())


def test_copies_of_a_photograph_count_once():
    labels, right = torch.arange(20) % 2, torch.arange(20) % 3 > 0
    alone = balanced_accuracy(labels, right)
    twice = balanced_accuracy(labels.repeat(2), right.repeat(2), torch.arange(20).repeat(2))
    assert twice[0] == pytest.approx(alone[0]) and twice[1] == pytest.approx(alone[1])


def test_interval_of_one_class_is_that_of_agresti_and_coull():
    right, n, z = 7, 20, 1.959963984540054
    center = (right + 2) / (n + 4)
    half = z * (center * (1 - center) / (n + 4)) ** 0.5
    assert metrics.balanced_accuracy_interval([right], [n]) == pytest.approx((center - half, center + half))


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ([1000] * 5 + [15] * 5, [0.98] * 5 + [0.6] * 5),
        ([10] * 100, [0.97] * 100),
        ([20, 20], [0.95, 0.9]),
        ([1000, 20], [0.999, 0.05]),
        ([50] * 300, [0.8] * 300),
    ],
)
def test_interval_holds_the_mean_as_often_as_it_says(counts, shares):
    rng, n = np.random.default_rng(0), np.array(counts)
    held = 0
    for _ in range(1000):
        lo, hi = metrics.balanced_accuracy_interval(rng.binomial(n, shares), n)
        held += lo <= np.mean(shares) <= hi
    assert held >= 925


@pytest.mark.parametrize("hits", [[0, 0], [5, 1], [5, 0], [0, 1]])
def test_interval_is_a_share_and_holds_the_value(hits):
    lo, hi = metrics.balanced_accuracy_interval(hits, [5, 1])
    assert 0 <= lo <= (hits[0] / 5 + hits[1]) / 2 <= hi <= 1 and lo < hi


@pytest.mark.parametrize(("hits", "counts"), [([1], [0]), ([3], [2]), ([1, 2], [3]), ([], []), ([-1], [3])])
def test_no_shares_are_refused(hits, counts):
    with pytest.raises(OutskirtsError, match="for each class, at least 1 image"):
        metrics.balanced_accuracy_interval(hits, counts)


def test_tables_without_these_columns_are_read(outputs, tmp_path):
    results = evaluate(outputs, {"other": Outputs(torch.zeros(5, 4), torch.zeros(5, 4))}, ["msp"])
    results.save(tmp_path)
    assert Results.load(tmp_path).rows == results.rows
    table = tmp_path / "results.csv"
    lines = list(csv.reader(table.read_text().splitlines()))
    assert lines[0] == COLUMNS and COLUMNS[-3] == "id_balanced_accuracy"
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(line[:-3] for line in lines)
    old = Results.load(tmp_path).rows
    assert [row.id_balanced_accuracy for row in old] == [None, None]
    assert [row.id_accuracy_hi for row in old] == [row.id_accuracy_hi for row in results.rows]
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(line[:-2] for line in lines)
    with pytest.raises(OutskirtsError, match=r"missing columns: .*id_balanced_accuracy_hi"):
        Results.load(tmp_path)


def test_what_is_said_of_classes(outputs):
    classes = class_accuracies(outputs, NAMES)
    assert never_predicted(classes) == "The network never predicts 1 class on the ID test images: 'd' (2 images)."
    assert never_predicted(classes[:2]) is None
    one, other = (ClassAccuracy(*about) for about in (("a", 90, 99, 0.95, 0.9, 0.98), ("b", 15, 9, 0.4, 0.2, 0.69)))
    assert uneven([one, other]) == (
        "The accuracy of classes differs much, from 40.0% ('b', 15 images) to 95.0% ('a', 90 images); their mean is "
        "67.5%."
    )
    # Their intervals are less than 20 points apart.
    assert uneven([one, ClassAccuracy("b", 15, 9, 0.5, 0.3, 0.71)]) is None and uneven([one]) is None


def test_a_run_keeps_the_accuracy_of_each_class(run, test, ood, tmp_path):
    said = []
    results = evaluate_run(run, test, ood, ["msp"], say=said.append)
    classes = load_json(run.path / "classes.json")
    assert [(one["label"], one["n"]) for one in classes] == [("ant", 10), ("bee", 10)]
    assert sum(one["accuracy"] for one in classes) / 2 == pytest.approx(results.rows[0].id_balanced_accuracy)
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "Accuracy by class" in page and "balanced accuracy" in page
    # What holds for another test set does not stay.
    nameless = ImageSet(test.items, torch.full((20,), -1), [], test.spec)
    evaluate_run(run, nameless, ood, ["msp"])
    assert not (run.path / "classes.json").exists()
    page = report([run.path], tmp_path / "report.html").read_text()
    assert "Accuracy by class" not in page and "balanced accuracy" not in page


def test_classes_that_are_never_predicted_are_noted(run, ood, bugs):
    network = osk.load(run)
    network.head.linear.bias.data[1] = -1e6
    save_tensors(run.model, network.state_dict(), load_tensors(run.model)[1])
    said = []
    results = evaluate_run(run, bugs / "test", ood, ["msp"], say=said.append)
    sentence = "The network never predicts 1 class on the ID test images: 'bee' (10 images)."
    assert sentence in load_json(run.path / "notes.json") and sentence in said
    assert sentence in repr(results) and sentence in Results.load(run.path).notes
    assert any(text.startswith("The accuracy of classes differs much, from 0.0% ('bee'") for text in said)
    page = report([run.path], run.path / "report.html").read_text()
    assert "never</td>" in page
