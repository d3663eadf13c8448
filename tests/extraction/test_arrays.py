"""Outputs of arrays of any library give what float64 arrays give, or a sentence."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import outskirts as osk

RNG = np.random.default_rng(0)
CENTERS = 6 * np.eye(3, 8)
WEIGHT, BIAS = RNG.normal(size=(3, 8)), RNG.normal(size=3)


def features(n, centers=CENTERS):
    return centers[np.arange(n) % len(centers)] + RNG.normal(size=(n, 8))


TRAIN, TEST, OTHER = features(90), features(30), features(30, 0 * CENTERS)
LABELS = np.arange(90) % 3


def logits(rows):
    return rows @ WEIGHT.T + BIAS


class Foreign:
    """An array of another library, which NumPy may read but not write."""

    def __init__(self, values):
        self.values = np.array(values)
        self.values.flags.writeable = False

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values


KINDS = {
    "float64": np.asarray,
    "float32": lambda rows: rows.astype(np.float32),
    "other byte order": lambda rows: rows.astype(">f8"),
    "columns first": np.asfortranarray,
    "backwards": lambda rows: rows[::-1].copy()[::-1],
    "read-only": Foreign,
    "pandas": pd.DataFrame,
    "lists": lambda rows: rows.tolist(),
    "longdouble": lambda rows: rows.astype(np.longdouble),
    "with a gradient": lambda rows: torch.tensor(rows, requires_grad=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_naive_float64(kind):
    as_kind = KINDS[kind]

    def outputs(rows, labels=None):
        return osk.Outputs(as_kind(rows), as_kind(logits(rows)), labels, (as_kind(WEIGHT), BIAS.tolist()))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = outputs(TRAIN, LABELS.astype(np.int32)), outputs(TEST)
    of_test, unit = logits(TEST), TRAIN / np.linalg.norm(TRAIN, axis=1, keepdims=True)
    cosines = TEST / np.linalg.norm(TEST, axis=1, keepdims=True) @ unit.T
    expected = {
        "energy": -np.log(np.exp(of_test).sum(1)),
        "msp": -np.log((np.exp(of_test) / np.exp(of_test).sum(1, keepdims=True)).max(1)),
        "knn:k=5": np.sqrt(2 - 2 * np.sort(cosines, axis=1)[:, -5]),
        "react:percentile=80": -np.log(np.exp(logits(np.minimum(TEST, np.percentile(TRAIN, 80)))).sum(1)),
    }
    for name, values in expected.items():
        found = osk.detectors.create(name).fit(train).score(test).double().numpy()
        if name.startswith("knn"):  # Whichever of the distances it is.
            found, values = found.argsort(kind="stable"), values.argsort(kind="stable")
        np.testing.assert_allclose(found, values, rtol=2e-4, atol=1e-4)


def test_whole_numbers_are_kept_exactly():
    large = np.array([[2**24 + 1, 0], [1, 2]])
    for dtype in (np.int64, np.int32, np.uint32, np.uint64):
        out = osk.Outputs(large.astype(dtype), large.astype(dtype))
        assert out.features.dtype == torch.float64 and out.features.tolist() == large.tolist()
        assert osk.detectors.MaxLogit().score(out).tolist() == [-(2**24 + 1), -2]
    assert osk.Outputs(np.array([[True], [False]])).features.tolist() == [[1], [0]]


def test_labels_are_whole_numbers_of_any_type():
    for labels in (np.array([0, 2, 1], np.uint8), [0, 2, 1], pd.Series([0, 2, 1], index=[7, 8, 9]), [0.0, 2.0, 1.0]):
        out = osk.Outputs(np.zeros((3, 2)), np.eye(3)[[0, 2, 0]], labels)
        assert out.labels.dtype == torch.int64 and out.labels.tolist() == [0, 2, 1]
        assert out.accuracy == pytest.approx(2 / 3)


def test_memory_is_shared_and_never_changed():
    rows = RNG.normal(size=(4, 3))
    before = rows.copy()
    assert np.shares_memory(osk.Outputs(rows, rows).features.numpy(), rows)
    osk.detectors.Energy().score(osk.Outputs(rows, rows))
    assert (rows == before).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([np.zeros((4, 2)), np.zeros((3, 3))], "4 rows of features but 3 of logits"),
        ([np.zeros((4, 2)), None, [0, 1]], "4 rows of features but 2 of labels"),
        ([np.zeros((4, 2, 2))], r"features of outputs must have the shape \[N, D\], not \[4, 2, 2\]. Flatten"),
        ([np.zeros(4)], r"must have the shape \[N, D\], not \[4\]\.$"),
        ([3.0], "a row for each image"),
        ([[[1.0, 2.0], [3.0]]], "features of outputs must be"),
        ([np.zeros((4, 2), complex)], "must be real numbers, not complex128"),
        ([torch.zeros(4, 2, dtype=torch.complex64)], "must be real numbers, not complex64"),
        ([np.array([["a"]])], "must be real numbers, not <U1"),
        ([np.array([[None, 1.0]])], "must be real numbers, not of mixed types"),
        ([np.ma.masked_less(np.arange(4.0)[:, None], 2)], "must not be masked"),
        ([np.array([[2**63]], np.uint64)], "whole numbers as large as 9223372036854775808"),
        ([np.zeros((2, 2)), None, [0.5, 1.0]], "labels of outputs must be whole numbers"),
        ([np.zeros((2, 2)), None, [np.nan, 1.0]], "labels of outputs must be whole numbers"),
        ([np.zeros((2, 2)), None, np.eye(2)], r"one class of each image, \[N\], not \[2, 2\]"),
        ([np.zeros((2, 2)), None, None, np.zeros((3, 2))], r"a weight \[C, D\] and a bias \[C\]"),
        ([np.zeros((2, 2)), None, None, torch.nn.Linear(2, 3)], r"a weight \[C, D\] and a bias \[C\]"),
        ([np.zeros((2, 2)), None, None, (np.zeros((3, 2)), np.zeros(2))], "of 3 classes, but its bias of 2"),
        ([np.zeros((2, 2)), None, None, (np.zeros((3, 4)), np.zeros(3))], "does not fit features of width 2"),
        ([np.zeros((2, 2)), np.zeros((2, 4)), None, (np.zeros((3, 2)), np.zeros(3))], "but the logits have 4"),
        ([np.zeros((2, 2)), None, None, None, {"maps": np.zeros((3, 1))}], "2 rows of features but 3 of maps"),
    ],
)
def test_what_does_not_fit_is_a_sentence(arguments, sentence):
    with pytest.raises(osk.OutskirtsError, match=sentence):
        osk.Outputs(*arguments)
