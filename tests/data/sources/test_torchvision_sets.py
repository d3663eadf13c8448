import inspect

import numpy as np
import pytest

import outskirts as osk
from outskirts.data.sources.torchvision_sets import SETS

LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_torchvision_arrays(monkeypatch, tmp_path, pictures, check, fails):
    class Stand:
        classes = ("cat", "dog")

        def __init__(self, root, train, download):
            assert root == tmp_path and download
            self.data, self.targets = pictures if train else pictures[:0:-1], [0, 0, 0, 1, 1, 1][: 6 if train else 5]

    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.CIFAR10", Stand)
    check(osk.open("cifar10"), pictures)
    assert len(osk.open("cifar10?split=test")) == 5
    fails("cifar10?split=tset", "no split 'tset' of cifar10; did you mean 'test'")


def test_torchvision_channels_first(monkeypatch, tmp_path, pictures, check):
    class Stand:
        def __init__(self, root, split, download):
            self.data, self.labels = pictures.transpose(0, 3, 1, 2), LABELS

    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.SVHN", Stand)
    check(osk.open("svhn"), pictures, classes=("0", "1"))


def test_torchvision_files(monkeypatch, tmp_path, files, pictures, check):
    class Files:
        classes = ("cat", "dog")

        def __init__(self, root, split, download):
            self._image_files, self._labels = files, LABELS.tolist()

    class Samples:
        def __init__(self, root, split, download):
            self._samples = [(str(file), int(label)) for file, label in zip(files, LABELS)]

    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.DTD", Files)
    monkeypatch.setattr("torchvision.datasets.GTSRB", Samples)
    check(osk.open("dtd"), pictures)
    check(osk.open("gtsrb?split=test"), pictures, classes=("0", "1"))
    assert osk.open("dtd").name(5) == str(files[5])


@pytest.mark.parametrize("failure", [OSError("no network"), RuntimeError("file corrupted")])
def test_a_failed_download_says_where_files_go(monkeypatch, tmp_path, failure, fails):
    def stand(root, **options):
        raise failure

    monkeypatch.setenv("OUTSKIRTS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("torchvision.datasets.STL10", stand)
    fails("stl10", f"'stl10' could not be downloaded.*{failure}.*torchvision's STL10 expects into .*data by hand")


@pytest.mark.parametrize("name", SETS)
def test_torchvision_has_the_classes_and_arguments_named(name):
    from torchvision import datasets

    parameters = inspect.signature(getattr(datasets, SETS[name].name)).parameters
    assert {key for split in SETS[name].splits.values() for key in split} | {"download"} <= {*parameters}
