import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from outskirts import OutskirtsError
from outskirts.evaluation.results import COLUMNS, MEAN, Result, Results


def row(**values) -> Result:
    numbers = {name: index / 30 for index, name in enumerate(COLUMNS)}
    text = {"run": "a", "method": "ce", "seed": 0, "detector": "msp", "params": "{}", "group": "far"}
    return Result(**{**numbers, **text, "dataset": "svhn", "n_id": 10, "n_ood": 5, **values})


@pytest.fixture
def results() -> Results:
    rows = (
        row(),
        row(dataset=MEAN),
        row(detector="knn", params='{"k": 10}', id_accuracy=None),
        row(detector="knn", params='{"k": 50}', dataset="a, b"),
    )
    scores = {"msp": {"id": torch.randn(10).double(), "svhn": torch.tensor([1.0, float("inf")]).double()}}
    return Results(rows, scores, {"react": "needs a head"})


def printed(results: Results, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(results.table())
    return console.file.getvalue()


def test_columns_are_those_documented():
    documented = (
        "run, method, seed, detector, params, group, dataset, n_id, n_ood, auroc, auroc_lo, auroc_hi, aupr_in, "
        "aupr_out, fpr95, fpr95_ood_positive, id_accuracy"
    )
    assert ", ".join(COLUMNS).startswith(documented)


def test_saved_results_are_the_same(results, tmp_path):
    results.save(tmp_path)
    loaded = Results.load(tmp_path)
    assert loaded.rows == results.rows
    assert loaded.skipped == results.skipped
    assert {label: set(sets) for label, sets in loaded.scores.items()} == {"msp": {"id", "svhn"}}
    assert all(loaded.scores["msp"][name].equal(results.scores["msp"][name]) for name in ("id", "svhn"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "scores.safetensors"]


def test_empty_results_can_be_saved(tmp_path):
    Results(()).save(tmp_path)
    assert Results.load(tmp_path) == Results(())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("auroc_lo", "colour", r"missing \['auroc_lo'\], foreign \['colour'\]"),
        ("svhn,10", "svhn,ten", "line 2.*'ten'"),
        ("svhn,10", "svhn", "damaged in line 2"),
        ("run,", "\udcff", "not a CSV"),
    ],
)
def test_damaged_table_is_an_error(results, tmp_path, old, new, sentence):
    results.save(tmp_path)
    path = tmp_path / "results.csv"
    path.write_text(path.read_text().replace(old, new, 1), errors="surrogateescape")
    with pytest.raises(OutskirtsError, match=sentence):
        Results.load(tmp_path)


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(OutskirtsError, match=r"results\.csv is missing"):
        Results.load(tmp_path)


def test_the_table_alone_suffices(results, tmp_path):
    results.save(tmp_path)
    (tmp_path / "scores.safetensors").unlink()
    assert Results.load(tmp_path) == Results(results.rows)


def test_merging_names_the_runs_in_any_order_of_brackets(results):
    b, c = (Results((row(run=name),), {"msp": {"id": torch.zeros(1)}}) for name in "bc")
    left, right = (results + b) + c, results + (b + c)
    assert left.rows == right.rows
    assert list(left.scores) == list(right.scores) == ["a/msp", "b/msp", "c/msp"]
    assert left.skipped == {"a/react": "needs a head"}
    assert "b/msp" in printed(left)


def test_merging_a_run_with_itself_is_an_error(results):
    with pytest.raises(OutskirtsError, match="Both results hold scores of a/msp"):
        results + results


def test_table_names_what_it_shows(results):
    text = printed(results)
    for expected in ("svhn", "msp", "knn(k=10)", "knn(k=50)", "30.0 ±6.7", "46.7|50.0", "needs a head"):
        assert expected in text


def test_five_sets_fit_a_terminal_of_80_columns():
    datasets = ("cifar100", "tiny-imagenet", MEAN, "mnist", "textures")
    names = ("relative_mahalanobis", "temperature", "msp")
    numbers = {"auroc": 1.0, "auroc_lo": 0.9, "auroc_hi": 1.0, "fpr95": 1.0, "fpr95_ood_positive": 1.0}
    text = printed(Results(tuple(row(detector=name, dataset=d, **numbers) for name in names for d in datasets)), 80)
    for name in names:
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert line.count("100.0 ±10.0") == 5
    assert text.count("100.0|100.0") == 15
    assert max(map(len, text.splitlines())) <= 80


def test_half_an_interval_is_the_wider_half():
    assert "70.0 ±5.0" in printed(Results((row(auroc=0.7, auroc_lo=0.65, auroc_hi=0.72),)))


def test_mean_of_a_single_set_is_not_shown():
    one = Results((row(), row(dataset=MEAN)))
    two = Results((*one.rows, row(dataset="dtd")))
    assert MEAN not in printed(one)
    assert MEAN in printed(two)


def test_rows_are_immutable():
    with pytest.raises(AttributeError):
        row().auroc = 1.0
    assert replace(row(), auroc=1.0).auroc == 1.0
