import json
import math

import numpy as np
import pytest
import torch

from outskirts import Outputs, OutskirtsError, detectors, evaluate, metrics
from outskirts.data.sources import open as open_images
from outskirts.evaluation.evaluate import choose_detectors, fit_detectors
from outskirts.evaluation.photographs import photographs
from outskirts.evaluation.results import Results

HEAD = (torch.eye(3, 8), torch.zeros(3))


def outputs(n: int, scale: float, seed: int, head=HEAD) -> Outputs:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = scale * torch.eye(8)[labels] + torch.rand(n, 8, generator=g)
    return Outputs(features, features[:, :3], labels, head)


@pytest.fixture(scope="module")
def train() -> Outputs:
    return outputs(300, 3.0, 0)


@pytest.fixture(scope="module")
def inside() -> Outputs:
    return outputs(60, 3.0, 1)


@pytest.fixture(scope="module")
def ood() -> dict[str, Outputs]:
    return {"near": outputs(30, 1.0, 2), "far": outputs(40, 0.3, 3), "noise": outputs(20, 0.1, 4)}


def test_rows_hold_the_metrics_of_the_scores(inside, ood, train):
    groups = {"near": "near", "far": "far", "noise": "far"}
    found = evaluate(inside, ood, ["msp", "knn"], train=train, groups=groups, run="r", method="ce", seed=3)
    assert [(row.detector, row.group, row.dataset) for row in found.rows] == [
        (detector, group, dataset)
        for detector in ("msp", "knn")
        for group, dataset in (
            ("near", "near"),
            ("near", "mean"),
            ("far", "far"),
            ("far", "noise"),
            ("far", "mean"),
        )
    ]
    row, scores = found.rows[2], found.scores["msp"]
    assert (row.run, row.method, row.seed, row.n_id, row.n_ood) == ("r", "ce", 3, 60, 40)
    assert row.auroc == metrics.auroc(scores["id"], scores["far"])
    assert row.aupr_out == metrics.aupr(scores["id"], scores["far"], "ood")
    assert row.fpr95_ood_positive == metrics.fpr_at_tpr(scores["id"], scores["far"], positive="ood")
    assert (row.fpr95_lo, row.fpr95_hi) == metrics.fpr_interval(scores["id"], scores["far"], seed=3)
    assert (row.id_accuracy_lo, row.id_accuracy_hi) == metrics.wilson_interval(60, 60)
    mean = found.rows[4]
    assert mean.n_ood == 60
    assert mean.auroc == pytest.approx((found.rows[2].auroc + found.rows[3].auroc) / 2)
    both = [scores["far"], scores["noise"]]
    assert (mean.auroc_lo, mean.auroc_hi) == metrics.auroc_interval(scores["id"], both)


def test_everything_runs_at_once_and_says_so(inside, ood, train):
    told = []
    found = evaluate(inside, ood, "all", train=train, val=train, progress=told.append)
    assert set(told) == set(found.scores)
    assert set(found.scores) | set(found.skipped) == set(detectors.registry.names())
    plain = {"features", "logits", "labels", "head"}
    made = [detectors.create(name) for name in detectors.registry.names()]
    assert set(found.skipped) == {one.name for one in made if one.probes or one.lacks or one.needs - plain}
    # SCALE takes few large activations among many for those of outliers, which is the other way round here.
    assert all(row.auroc > 0.5 for row in found.rows if row.detector != "scale")


def test_same_name_with_other_parameters_gets_its_own_label(inside, ood, train):
    found = evaluate(inside, ood, [{"name": "knn", "k": 3}, detectors.KNN(k=7), "msp"], train=train)
    assert list(found.scores) == ["knn(k=3)", "knn(k=7)", "msp"]
    assert [json.loads(row.params).get("k") for row in found.rows[::4]] == [3, 7, None]
    with pytest.raises(OutskirtsError, match="asked for twice"):
        choose_detectors(["msp", "msp"])


def test_fitted_detectors_need_no_split(inside, ood, train):
    fitted = detectors.KNN(k=3).fit(train)
    assert "knn" in evaluate(inside, ood, [fitted]).scores
    with pytest.raises(OutskirtsError, match="'knn' learns from the train split: pass train="):
        evaluate(inside, ood, ["knn"])
    with pytest.raises(OutskirtsError, match="pass val="):
        fit_detectors(choose_detectors(["temperature"]), train=train)


def test_without_a_head_detectors_that_need_it_are_skipped(ood, train):
    headless = outputs(60, 3.0, 1, head=None)
    found = evaluate(headless, ood, ["msp", "react", "vim"], train=train)
    assert list(found.scores) == ["msp"]
    assert set(found.skipped) == {"react", "vim"}
    assert "linear head" in found.skipped["react"]


def test_without_labels_there_is_no_accuracy(inside, ood):
    unlabelled = Outputs(inside.features, inside.logits)
    assert evaluate(unlabelled, ood, ["msp"]).rows[0].id_accuracy is None


def test_nan_names_the_detector_and_the_set_and_infinity_is_allowed(inside, ood):
    def broken(value: float) -> dict[str, Outputs]:
        logits = ood["far"].logits.clone()
        logits[3] = value
        return {"far": Outputs(ood["far"].features, logits)}

    with pytest.raises(OutskirtsError, match="'max_logit' gave NaN for 1 of 40 images of 'far'"):
        evaluate(inside, broken(math.nan), ["max_logit"])
    assert evaluate(inside, broken(math.inf), ["max_logit"]).rows


@pytest.mark.parametrize("name", ["id", "mean", "a/b"])
def test_names_with_a_meaning_are_refused(inside, ood, name):
    with pytest.raises(OutskirtsError, match=f"'{name}'"):
        evaluate(inside, {name: ood["far"]}, ["msp"])


def test_no_set_is_an_error(inside):
    with pytest.raises(OutskirtsError, match="no OOD set"):
        evaluate(inside, {}, ["msp"])


def test_full_spectrum_counts_shifted_images_as_id(inside, ood, train):
    shifted = outputs(20, 2.0, 5)
    groups = {"near": "near", "far": "control", "noise": "far", "dusk": "shifted"}
    found = evaluate(inside, {**ood, "dusk": shifted}, ["msp", "knn"], train=train, groups=groups)
    names = list(dict.fromkeys(row.group for row in found.rows))
    assert names == ["near", "control", "far", "shifted", "near (full-spectrum)", "far (full-spectrum)"]
    for row in found.rows:
        scores = found.scores[row.detector]
        known = scores["id"]
        if row.group.endswith("(full-spectrum)"):
            known = torch.cat([scores["id"], scores["dusk"]])
            both = torch.cat([inside.logits.argmax(1) == inside.labels, shifted.logits.argmax(1) == shifted.labels])
            assert row.id_accuracy == pytest.approx(both.double().mean().item())
        else:
            assert row.id_accuracy == inside.accuracy
        assert row.n_id == len(known) and torch.equal(found.id_scores(row.detector, row.group), known)
        if row.dataset != "mean":
            assert row.auroc == metrics.auroc(known, scores[row.dataset])


def test_full_spectrum_intervals_count_photographs():
    def outputs(seed: int, shift: float) -> Outputs:
        logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed)) + torch.eye(3).repeat(20, 1) * shift
        return Outputs(logits, logits, labels=torch.arange(60) % 3)

    known, fog = outputs(0, 3), outputs(1, 0)
    groups, sets = {"copy": "shifted", "fog": "far"}, {"copy": known, "fog": fog}
    same = {name: torch.arange(60) for name in ("id", "copy")}
    plain, clustered = (evaluate(known, sets, ["msp"], groups=groups, photographs=given) for given in (None, same))
    rows = [{row.group: row for row in results.rows if row.dataset == "fog"} for results in (plain, clustered)]
    alone, narrow, wide = rows[0]["far"], rows[0]["far (full-spectrum)"], rows[1]["far (full-spectrum)"]
    # A copy of each image tells nothing new.
    assert (wide.auroc, wide.auroc_lo, wide.auroc_hi) == pytest.approx((alone.auroc, alone.auroc_lo, alone.auroc_hi))
    assert (wide.id_accuracy_lo, wide.id_accuracy_hi) == (alone.id_accuracy_lo, alone.id_accuracy_hi)
    assert wide.auroc == narrow.auroc and narrow.auroc_hi - narrow.auroc_lo < wide.auroc_hi - wide.auroc_lo
    assert clustered.id_photographs("far (full-spectrum)").tolist() == [*range(60)] * 2
    assert clustered.id_photographs("far") is None and plain.id_photographs("far (full-spectrum)") is None


def test_photographs_are_kept_with_the_scores(tmp_path):
    images = torch.arange(4)
    kept = Results((), {"msp": {"id": images.double()}}, photographs={"id": images})
    kept.save(tmp_path)
    again = Results.load(tmp_path)
    assert torch.equal(again.photographs["id"], images) and list(again.scores) == ["msp"]


def test_photographs_of_changed_images(bugs):
    test, noisy, flies = (open_images(f"{bugs}/{name}") for name in ("test", "test?noise=15&limit=4", "flies"))
    found = photographs({"id": test, "noisy": noisy, "flies": flies})
    assert found["noisy"].tolist() == noisy.index.tolist() and found["id"].tolist() == list(range(len(test)))
    assert not set(found["flies"].tolist()) & set(found["id"].tolist())


def test_what_cannot_be_fitted_is_left_out_with_its_reason():
    g = torch.Generator().manual_seed(0)
    train, near, far = (Outputs(torch.randn(n, 4, generator=g), torch.randn(n, 3, generator=g)) for n in (9, 20, 20))
    results = evaluate(near, {"far": far}, ["knn", "msp"], train=train)
    assert {row.detector for row in results.rows} == {"msp"}
    assert "neighbour 50 among 9 training images" in results.skipped["knn"]
    with pytest.raises(
        OutskirtsError, match=r"No detector can be computed.* knn cannot be fitted: .* neighbour 50 .* at most 9\.$"
    ):
        evaluate(near, {"far": far}, ["knn"], train=train)


def test_detectors_of_features_alone_need_no_logits():
    g = np.random.default_rng(0)
    labels = np.arange(60) % 2
    train, inside, far = (Outputs(g.normal(shift, 1, (60, 4)), labels=labels) for shift in (4, 4, [-9, 9, -9, 9]))
    results = evaluate(inside, {"far": far}, ["knn:k=5", "gaussian_mixture", "msp", "vim"], train=train)
    assert set(results.skipped) == {"msp", "vim"}
    assert results.skipped["msp"] == "needs logits, which these outputs lack"
    assert {row.detector for row in results.rows if row.auroc > 0.99} == {"knn", "gaussian_mixture"}
    assert all(row.id_accuracy is None for row in results.rows)
    # Where the training images alone have none, the reason names the detector.
    logits = g.normal(size=(60, 3))
    inside, far = (Outputs(part.features, logits) for part in (inside, far))
    results = evaluate(inside, {"far": far}, ["knn:k=5", "nnguide:k=5"], train=train)
    assert "The detector 'nnguide' needs logits" in results.skipped["nnguide"]


def test_a_group_of_no_set_is_refused():
    outputs = Outputs(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(OutskirtsError, match="There is no OOD set 'fgo' in groups; did you mean 'fog'"):
        evaluate(outputs, {"fog": outputs}, ["msp"], groups={"fgo": "near"})


def test_groups_in_the_place_of_sets_are_refused():
    outputs = Outputs(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(OutskirtsError, match=r"'far' must be outputs, .* not of the type dict\. Groups"):
        evaluate(outputs, {"far": {"textures": outputs}}, ["msp"])


def test_sets_of_other_widths_are_refused():
    narrow, wide = Outputs(np.zeros((9, 2)), np.zeros((9, 3))), Outputs(np.zeros((9, 4)), np.zeros((9, 3)))
    with pytest.raises(OutskirtsError, match="features of 'far' have 4 columns, but those of 'id' have 2"):
        evaluate(narrow, {"far": wide}, ["msp"])
    with pytest.raises(OutskirtsError, match="logits of 'train' have 4 columns, but those of 'id' have 3"):
        evaluate(narrow, {"far": narrow}, ["msp"], train=Outputs(np.zeros((9, 2)), np.zeros((9, 4))))
