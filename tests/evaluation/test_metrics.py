import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from outskirts import OutskirtsError, metrics

SCORES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "tied": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "infinite": lambda rng, n: rng.choice([-np.inf, -1.0, 0.0, 2.0, np.inf], n),
    "huge": lambda rng, n: rng.normal(size=n) * 1e300,
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-300,
    "close": lambda rng, n: 1 + 1e-15 * rng.integers(0, 9, n),
    "constant": lambda rng, n: np.zeros(n),
}


def draw(kind: str, n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return SCORES[kind](rng, n), SCORES[kind](rng, m)


def ranked(scores: np.ndarray) -> np.ndarray:
    """The same order and ties, in numbers that scikit-learn accepts."""
    return np.unique(scores, return_inverse=True)[1]


def naive_fpr(positives: np.ndarray, negatives: np.ndarray, tpr: float) -> float:
    for threshold in np.sort(positives)[::-1]:
        if np.mean(positives >= threshold) >= tpr:
            return np.mean(negatives >= threshold)
    raise AssertionError


@pytest.mark.parametrize("number", [1, 2, 3])
def test_vectors(vectors, number):
    vector = vectors[f"V23_metrics_{number}"]
    inside, outside = -np.array(vector["id"]), -np.array(vector["ood"])
    assert metrics.auroc(inside, outside) == pytest.approx(vector["auroc"], abs=1e-12)
    assert metrics.aupr(inside, outside) == pytest.approx(vector["aupr_in"], abs=1e-12)
    assert metrics.aupr(inside, outside, "ood") == pytest.approx(vector["aupr_out"], abs=1e-12)
    assert metrics.fpr_at_tpr(inside, outside) == vector["fpr95_id_pos"]
    assert metrics.fpr_at_tpr(inside, outside, positive="ood") == vector["fpr95_ood_pos"]


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (40, 60)])
def test_agrees_with_scikit_learn(kind, n, m):
    inside, outside = draw(kind, n, m)
    ranks = ranked(np.concatenate([inside, outside]))
    is_ood = np.arange(n + m) >= n
    assert metrics.auroc(inside, outside) == pytest.approx(sklearn_metrics.roc_auc_score(is_ood, ranks))
    for positive, truth, values in (("ood", is_ood, ranks), ("id", ~is_ood, -ranks)):
        precision, recall, _ = sklearn_metrics.precision_recall_curve(truth, values)
        assert metrics.aupr(inside, outside, positive) == pytest.approx(sklearn_metrics.auc(recall, precision))
        step = sklearn_metrics.average_precision_score(truth, values)
        assert metrics.aupr(inside, outside, positive, rule="step") == pytest.approx(step)
        fpr, tpr, _ = sklearn_metrics.roc_curve(truth, values, drop_intermediate=False)
        assert metrics.fpr_at_tpr(inside, outside, positive=positive) == fpr[np.argmax(tpr >= 0.95)]


def test_the_rank_is_free_of_rounding():
    for n in (20, 100, 700):
        scores = np.arange(n, dtype=float)
        for k in range(1, n + 1):
            assert metrics.fpr_at_tpr(scores, scores, tpr=k / n) == naive_fpr(-scores, -scores, k / n) == k / n


def test_every_kind_of_input_gives_the_same():
    inside, outside = [0.1, 0.4, 0.2], [0.3, 0.5]
    expected = metrics.auroc(inside, outside)
    for kind in (np.array, torch.tensor, lambda x: torch.tensor(x, requires_grad=True), tuple):
        assert metrics.auroc(kind(inside), kind(outside)) == expected
    frozen = np.array(inside)
    frozen.setflags(write=False)
    assert metrics.auroc(frozen, torch.tensor(outside, dtype=torch.bfloat16)) == expected


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [([], "no scores"), ([0.0, float("nan")], "1 of 2 scores are NaN"), ([[1.0], [2.0]], r"shape \[2, 1\]")],
)
def test_scores_without_an_order_are_an_error(scores, sentence):
    for one, other in ((scores, [1.0]), ([1.0], scores)):
        with pytest.raises(OutskirtsError, match=sentence):
            metrics.auroc(one, other)


def test_options_are_checked():
    with pytest.raises(OutskirtsError, match="positive must be one of id, ood, not 'odd'; did you mean 'ood'"):
        metrics.fpr_at_tpr([0.0], [1.0], positive="odd")
    with pytest.raises(OutskirtsError, match="rule must be one of trapezoid, step, not 'simpson'"):
        metrics.aupr([0.0], [1.0], rule="simpson")
    with pytest.raises(OutskirtsError, match="tpr is 95"):
        metrics.fpr_at_tpr([0.0], [1.0], tpr=95)


def test_the_vector_of_the_imagined_outliers():
    """Item 22 of the specification of NCIS, whose scores are larger for ID images; its FPR is at the nearest point."""
    inside = -np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2, 0.1])
    outside = -np.array([0.95, 0.65, 0.45, 0.35, 0.15, 0.05])
    assert metrics.auroc(inside, outside) == pytest.approx(0.583333, abs=1e-6)
    assert metrics.aupr(inside, outside, rule="step") == pytest.approx(0.677326, abs=1e-6)
    assert metrics.fpr_at_tpr(inside, outside, point="nearest") == pytest.approx(0.833333, abs=1e-6)


def test_the_area_between_two_gaussians():
    """Of means 0 and 1, both of variance 1, it is known: the distribution function at the root of one half."""
    rng = np.random.default_rng(0)
    assert metrics.auroc(rng.normal(0, 1, 200_000), rng.normal(1, 1, 200_000)) == pytest.approx(0.760250, abs=0.002)


T11 = {
    "M1": (
        [0.95, 0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.1],
        [0.85, 0.42, 0.3, 0.2, 0.05],
        0.76,
        0.8536832612,
        0.8,
    ),
    "M2": ([*range(20, 0, -1)], [19.5, 10, 2.4, 2.2, 2, 1.4, 0.6], 0.75, 0.8525981067, 5 / 7),
    "M3": ([0.9, 0.8, 0.7, 0.6], [0.65, 0.3], 0.875, 0.95, 0.5),
    "tied": ([1.0] * 4, [1.0] * 2, 0.5, 2 / 3, 1.0),
}


@pytest.mark.parametrize("name", T11)
def test_vectors_of_the_hypersphere_papers(name):
    """T11 of the specification, whose scores are larger for ID images."""
    inside, outside, area, precision, fpr = T11[name]
    inside, outside = -np.array(inside, float), -np.array(outside, float)
    assert metrics.auroc(inside, outside) == pytest.approx(area, abs=1e-12)
    assert metrics.aupr(inside, outside, rule="step") == pytest.approx(precision, abs=5e-11)
    assert metrics.fpr_at_tpr(inside, outside) == pytest.approx(fpr, abs=1e-12)
    if name == "M2":
        assert metrics.fpr_at_tpr(inside, outside, point="nearest") == pytest.approx(6 / 7, abs=1e-12)


def test_the_nearest_point_by_hand():
    rng = np.random.default_rng(0)
    differ = 0
    for _ in range(50):
        inside, outside = rng.integers(0, 12, 17).astype(float), rng.integers(3, 15, 11).astype(float)
        points = []
        for threshold in {*inside, *outside}:
            if threshold <= inside.max():  # The first point at which all ID images are accepted is the last to count.
                points.append((abs(np.mean(inside <= threshold) - 0.95), -np.mean(outside <= threshold)))
        found = metrics.fpr_at_tpr(inside, outside, point="nearest")
        assert found == -min(points)[1]
        differ += found != metrics.fpr_at_tpr(inside, outside)
    assert differ
    with pytest.raises(OutskirtsError, match="first"):
        metrics.fpr_at_tpr([0.0], [1.0], point="frist")
