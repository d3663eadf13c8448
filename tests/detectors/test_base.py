import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import Detector, create
from outskirts.files import save_tensors


def test_a_detector_written_as_text():
    assert create("knn:k=10,space=projection").params == {"k": 10, "space": "projection", "index": "exact"}
    assert create("combination:detectors=[energy,knn],rule=fisher").params["detectors"] == ["energy", "knn"]
    assert create("vim:dim=null").params == {"dim": None, "level": "centered"}
    with pytest.raises(OutskirtsError, match="'knn:10' is not a detector; write parameters as in knn:k=10"):
        create("knn:10")
    with pytest.raises(OutskirtsError, match="did you mean 'k'"):
        create("knn:kk=10")


def test_a_detector_fitted_by_0_1_keeps_its_level(tmp_path):
    g = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6, generator=g)
    weight, bias = torch.randn(3, 6, generator=g), torch.randn(3, generator=g) + 9
    out = Outputs(features, features @ weight.T + bias, None, (weight, bias))
    fitted = create("vim:dim=2,level=published").fit(out)
    save_tensors(tmp_path / "vim.safetensors", fitted.state_dict(), {"detector": "vim", "params": {"dim": 2}})
    assert torch.equal(Detector.load(tmp_path / "vim.safetensors").score(out), fitted.score(out))


@pytest.mark.parametrize(
    ("tensor", "about", "said"),
    [
        ("x", {}, "is damaged: the detector 'knn' has no tensor 'x'"),
        ("bank.x", {}, "is damaged: the detector 'knn' has no tensor 'bank.x'"),
        ("k", {}, "is damaged: the detector 'knn' has no tensor 'k'"),
        ("bank", {"params": None}, "is damaged: it lacks 'params'"),
        ("bank", {"params": [2]}, r"is damaged: its params is \[2\], not names with values"),
        ("bank", {"params": {"kk": 2}}, "did you mean 'k'"),
        ("bank", {"detector": 3}, "is damaged: its detector is 3, not a text"),
        ("bank", {"detector": None}, "does not hold a detector"),
    ],
)
def test_a_damaged_detector_is_told(tmp_path, tensor, about, said):
    whole = {"detector": "knn", "params": {"k": 2}, **about}
    kept = {name: value for name, value in whole.items() if value is not None}
    save_tensors(tmp_path / "knn.safetensors", {tensor: torch.eye(4)}, kept)
    with pytest.raises(OutskirtsError, match=said):
        Detector.load(tmp_path / "knn.safetensors")
