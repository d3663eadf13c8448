"""One guard in four forms: as it was fitted, loaded again, and in the files for ONNX Runtime and torch."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.guard.export.exportable import exportable
from outskirts.guard.export.verifying import noise
from outskirts.models.adapter import adapt
from outskirts.seeding import isolated

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx"), pytest.importorskip("onnxscript")

#: Detectors that need parameters for networks of few layers, and for few images.
PARAMETERS = {
    **{name: f"{name}:stages=1" for name in ("gram", "mahalanobis_ensemble")},
    **{name: f"{name}:dim=4" for name in ("vim", "residual")},
}
#: Detectors of a linear head, which prototypes are not.
LINEAR = {"ash", "dice", "dropout", "fdbd", "gradnorm", "nci", "react", "residual", "scale", "vim", "vra"}
#: What cannot be computed on each classifier; OpenMax needs right answers, which networks without training rarely give.
LACKS = {
    "ce": {"godin", "mcm", "ood_head"},
    "ascood": {"godin", "mcm", "ood_head"},
    "cider": {"godin", "ood_head", *LINEAR},
    "npos": {"godin", *LINEAR},
    "timm": {"godin", "mcm", "ood_head", "openmax"},
    "plain": {"godin", "mcm", "ood_head", "openmax"},
}


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU())
        self.last = nn.Linear(16, 2)

    def forward(self, images):
        return self.last(self.body(images).mean((2, 3)))


@pytest.fixture(scope="module")
def photos(draw, tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    return draw(root / "train", count=60, seed=21), draw(root / "calibration", count=40, seed=22)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures in files, of several sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, item in enumerate(noise(Transform(16)).items):
        Image.fromarray(item).save(folder / f"{number}.png")
    return folder


def classifier_of(kind, train, small, folder):
    """A classifier or a run, and what `Guard.fit` needs besides."""
    if kind == "plain":
        with isolated(0, "plain"):
            backbone, head = adapt(Plain(), torch.zeros(2, 3, 16, 16))
        return osk.Classifier(backbone, head, Transform(16), ["ant", "bee"]).eval(), {"train": train}
    if kind == "timm":
        with isolated(0, "timm"):
            torch.save(timm.create_model("resnet10t", num_classes=2).state_dict(), folder / "my.pt")
        return f"timm:resnet10t?weights={folder / 'my.pt'}&size=32", {"train": train}
    return osk.train(kind, train, out=folder / "run", **small), {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LACKS)
def test_every_detector_on(kind, photos, pictures, small, tmp_path):
    train, calibration = photos
    classifier, given = classifier_of(kind, train, small, tmp_path)
    lacking = set()
    for name in exportable():
        detector = PARAMETERS.get(name, name)
        try:
            guard = osk.Guard.fit(classifier, calibration=calibration, detector=detector, acceptance=0.9, **given)
        except OutskirtsError:
            lacking.add(name)
            continue
        _check(guard, pictures, tmp_path / name, kept=kind != "plain")
    assert lacking == LACKS[kind]


def _check(guard, pictures, folder, kept):
    folder.mkdir()
    files = sorted(pictures.iterdir())
    expected = guard.predict(files)
    if kept:
        again = osk.Guard.load(guard.save(folder / "guard")).predict(files)
        assert torch.equal(again.scores, expected.scores) and torch.equal(again.p_values, expected.p_values)
    rows = {"onnx": [], "torch": []}
    guard.export(folder / "made.onnx")
    guard.export(folder / "made.pt2", format="torch")
    session = onnxruntime.InferenceSession(folder / "made.onnx")
    names = [one.name for one in session.get_outputs()]
    module = torch.export.load(folder / "made.pt2").module()
    for file in files:
        pixels = np.array(Image.open(file))[None]
        rows["onnx"].append(dict(zip(names, session.run(None, {"pixels": pixels}))))
        rows["torch"].append(dict(zip(names, map(np.asarray, module(torch.from_numpy(pixels))))))
    scale = max(1.0, float(expected.scores.abs().max()))
    for form, found in rows.items():
        given = {name: np.concatenate([row[name] for row in found]) for name in names}
        assert np.isfinite(given["score"]).all()
        assert np.abs(given["score"] - expected.scores.numpy()).max() <= 1e-4 * scale, (guard, form)
        if "label" in given:
            assert given["label"].tolist() == expected.predicted[:, 0].tolist(), (guard, form)
        edges = guard.calibration.thresholds
        for place, (score, accepted) in enumerate(zip(expected.scores.tolist(), given["accepted"].tolist())):
            near = (edges - score).abs().min() <= 1e-4 * scale
            assert accepted == bool(expected.accepted[place]) or near, (guard, form)
