import builtins
import csv
import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.errors import MissingPackage
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
    return Results(rows, scores, {"react": "needs a head"}, notes=("Some images are copies.",))


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
    assert (loaded.skipped, loaded.notes) == (results.skipped, results.notes)
    assert {label: set(sets) for label, sets in loaded.scores.items()} == {"msp": {"id", "svhn"}}
    assert all(loaded.scores["msp"][name].equal(results.scores["msp"][name]) for name in ("id", "svhn"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.json", "results.csv", "scores.safetensors"]


def test_empty_results_can_be_saved(tmp_path):
    Results(()).save(tmp_path)
    assert Results.load(tmp_path) == Results(())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("auroc_lo", "colour", r"missing columns: \['auroc_lo'\], unknown columns: \['colour'\]"),
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


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("msp/id", "../x", r"scores of '\.\.', but none of the ID test images"),
        ("msp/svhn", "../x", r"scores of '\.\.', but none of the ID test images"),
        ("msp/id", "/x", "scores of 'msp', but none of the ID test images"),
        ("msp/svhn", "x", "'x' names no detector and set, as in msp/id"),
        ("F64", "C64", "'msp/id' is no list of numbers"),
    ],
)
def test_damaged_scores_are_an_error(results, tmp_path, old, new, sentence):
    results.save(tmp_path)
    path = tmp_path / "scores.safetensors"
    # The header has the same length with the spaces.
    path.write_bytes(path.read_bytes().replace(f'"{old}"'.encode(), f'"{new}"'.ljust(len(old) + 2).encode()))
    with pytest.raises(OutskirtsError, match=rf"scores\.safetensors is damaged: .*{sentence}"):
        Results.load(tmp_path)


def test_a_missing_table_is_an_error(tmp_path):
    with pytest.raises(OutskirtsError, match=r"results\.csv is missing"):
        Results.load(tmp_path)


def test_the_table_alone_suffices(results, tmp_path):
    results.save(tmp_path)
    (tmp_path / "scores.safetensors").unlink()
    assert Results.load(tmp_path) == Results(results.rows, notes=results.notes)


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


@pytest.fixture(scope="module")
def measured() -> Results:
    """Of three detectors on two groups, with scores."""
    generator = torch.Generator().manual_seed(0)

    def outputs(centre: float, labels: bool = False) -> osk.Outputs:
        logits = torch.randn(60, 3, generator=generator) + torch.tensor([centre, 0, 0])
        return osk.Outputs(logits, logits, torch.zeros(60, dtype=torch.long) if labels else None)

    known, near, far, fog = outputs(4, True), outputs(2), outputs(0), outputs(3, True)
    groups = {"near": "near", "far": "far", "fog": "shifted"}
    return osk.evaluate(
        known, {"near": near, "far": far, "fog": fog}, ["msp", "energy", "entropy"], groups=groups, run="r$1"
    )


def test_the_frame_is_the_table_on_disk(results, tmp_path):
    pandas = pytest.importorskip("pandas")
    results = replace(results, tuning=(row(group="tuning"),))
    results.save(tmp_path)
    frame = results.to_dataframe()
    with (tmp_path / "results.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert list(frame.columns) == header == COLUMNS
    assert len(frame) == len(lines) - 1 and "tuning" not in set(frame["group"])
    assert results.to_dataframe(tuning=True)["group"].tolist()[-1] == "tuning"
    assert frame["auroc"].tolist() == [one.auroc for one in results.rows]
    assert frame["id_accuracy"].isna().sum() == 1
    assert isinstance(frame, pandas.DataFrame)
    assert list(Results(()).to_dataframe().columns) == COLUMNS


def test_without_pandas_it_is_named(results, monkeypatch):
    def refuse(name, *rest, there=builtins.__import__, **more):
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingPackage, match="pip install pandas"):
        results.to_dataframe()


def texts(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_roc_curves_tell_the_numbers_of_the_table(measured):
    figure = measured.plot_roc()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["near (near)", "far (far)"]
    for axes, name in zip(figure.axes, ("near", "far")):
        expected = []
        for detector in ("msp", "energy", "entropy"):
            (one,) = (r for r in measured.rows if (r.detector, r.group, r.dataset) == (detector, name, name))
            expected.append(f"{detector}  {100 * one.auroc:.1f} [{100 * one.auroc_lo:.1f}, {100 * one.auroc_hi:.1f}]")
        assert texts(axes.get_legend()) == expected
        assert "true positive" in axes.get_ylabel() and axes.get_ylabel().startswith("ID")
    assert "ID as the positive" in figure.get_suptitle()
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_figures_show_what_is_asked_for(measured):
    figure = measured.plot_roc("energy", "far")
    assert [texts(axes.get_legend())[0].split()[0] for axes in figure.axes] == ["energy"]
    assert [axes.get_title(loc="left") for axes in measured.plot_roc(group="shifted").axes] == ["fog (shifted)"]
    assert len(measured.plot_roc(group="far (full-spectrum)").axes) == 1
    assert measured.plot_scores().get_suptitle() == "Scores of msp"
    both = measured.plot_scores(["energy", "msp"], "near")
    assert [axes.get_title(loc="left") for axes in both.axes] == ["energy: near (near)", "msp: near (near)"]
    merged = measured + replace(measured, rows=tuple(replace(one, run="b") for one in measured.rows))
    assert [axes.get_title(loc="left").split(":")[0] for axes in merged.plot_scores("msp", "far").axes] == [
        r"r\$1/msp",
        "b/msp",
    ]


def test_of_many_detectors_one_is_in_colour(measured):
    scores = {f"energy(temperature={i})": measured.scores["energy"] for i in range(7)} | dict(measured.scores)
    axes = replace(measured, scores=scores).plot_roc(group="far").axes[0]
    assert [text.split()[0] for text in texts(axes.get_legend())] == ["msp"]
    assert axes.get_legend().get_title().get_text().endswith("grey: 9 others")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"detector": "mps"}, "did you mean 'msp'"),
        ({"group": "nears"}, "did you mean 'near'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(measured, wanted, sentence):
    for draw in (measured.plot_roc, measured.plot_scores):
        with pytest.raises(OutskirtsError, match=sentence):
            draw(**wanted)
    with pytest.raises(OutskirtsError, match="keep no scores"):
        replace(measured, scores={}).plot_roc()


def test_drawing_leaves_pyplot_alone(measured):
    from matplotlib import pyplot, rcParams

    before = dict(rcParams)
    measured.plot_roc()
    measured.plot_scores()
    assert not pyplot.get_fignums() and dict(rcParams) == before


def test_in_a_line_and_in_a_notebook(measured):
    first, line = repr(measured).splitlines()
    assert first == "Results(1 run, 3 detectors, 3 sets)"
    mean = next(r for r in measured.rows if (r.detector, r.group, r.dataset) == ("msp", "near", MEAN))
    assert line.startswith(f"  msp: near AUROC {100 * mean.auroc:.1f} % [") and "far" in line and "fog" not in line
    assert repr(Results(())) == "Results(empty)" and "empty" in Results(())._repr_html_()
    many = Results(tuple(row(run=f"s{i}", dataset=MEAN) for i in range(9)))
    assert repr(many).splitlines()[1].startswith("  s0/msp: far AUROC")
    assert repr(many).splitlines()[-1] == "  and 3 more runs"
    assert "accuracy on" in line and "accuracy on" in many._repr_html_() and "accuracy on" in repr(many)
    html = replace(measured, skipped={"gram": "needs <maps>"})._repr_html_()
    assert "needs &lt;maps&gt;" in html and html.count("<tr>") == 1 + 3


def below(results: Results) -> str:
    """The text below the table, in one line."""
    return " ".join(printed(results).split())


def test_the_accuracy_stands_below_the_table():
    given = {"id_accuracy": 0.875, "id_accuracy_lo": 0.8, "id_accuracy_hi": 0.9}
    balanced = {"id_balanced_accuracy": 0.5, "id_balanced_accuracy_lo": 0.4, "id_balanced_accuracy_hi": 0.6}
    one = Results((row(**given, **balanced), row(**given, **balanced, dataset=MEAN)))
    accuracy = "accuracy on 10 ID images 87.5 % [80.0, 90.0]"
    assert f"{accuracy}, balanced accuracy 50.0 % [40.0, 60.0]." in below(one)
    assert f"; {accuracy}, balanced accuracy" in repr(one)
    # It is the same where all classes have as many images.
    equal = replace(one, rows=(row(**given, **{**balanced, "id_balanced_accuracy": 0.875}),))
    assert f"{accuracy}." in below(equal) and "balanced" not in below(equal)
    shifted = row(**given, id_balanced_accuracy=None, group="far (full-spectrum)", n_id=2000)
    both = replace(equal, rows=(*equal.rows, shifted))
    assert "accuracy on 2,000 ID and shifted images 87.5 % [80.0, 90.0]." in below(both)
    assert "accuracy" not in below(Results((row(id_accuracy=None),)))
    merged = below(one + replace(equal, rows=(row(run="b", **given, id_balanced_accuracy=None),)))
    assert f"a: {accuracy}, balanced" in merged and f"b: {accuracy}." in merged


def test_notes_stand_below(results):
    note = "Some images are copies."
    assert repr(results).splitlines()[-1] == f"  Note: {note}" and note in results._repr_html_()
    assert note in below(results) and note not in str(results.table(notes=False).caption)
    other = replace(results, rows=(row(run="b"),), scores={}, notes=("Few images.",))
    assert (results + other).notes == (f"a: {note}", "b: Few images.")
    assert (results + other + replace(other, rows=(row(run="c"),))).notes[-1] == "c: Few images."
