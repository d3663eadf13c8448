from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts import OutskirtsError
from outskirts.detectors.common.perturbed import PerturbedLogits, first_largest
from outskirts.detectors.msp import msp


class Linear(torch.nn.Module):
    """A linear classifier of images of one pixel, that remembers the images it last saw."""

    def __init__(self, vectors):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.layer.load_state_dict({"weight": torch.tensor(vectors["W"]), "bias": torch.tensor(vectors["b"])})
        self.transform = SimpleNamespace(std=tuple(vectors["std"]))

    def forward(self, images):
        self.seen = images.detach().flatten(1)
        return self.layer(images.flatten(1))


@pytest.fixture
def classifier(vectors):
    return Linear(vectors["V10_iodin"]).eval()


@pytest.fixture
def image(vectors):
    return torch.tensor(vectors["V10_iodin"]["x"]).view(1, 3, 1, 1)


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("kind", ["odin", "iodin"])
def test_vectors(vectors, classifier, image, case, kind):
    expected = vectors["V10_iodin"]["cases"][case]
    with torch.inference_mode(), torch.autocast("cpu"):
        probe = PerturbedLogits(expected["T"], expected["eps"], sparse=kind == "iodin")
        logits = probe(classifier, image.clone())
    torch.testing.assert_close(classifier.seen, torch.tensor([expected[f"{kind}_x"]]))
    confidence = (logits.double() / expected["T"]).softmax(1).max().item()
    assert confidence == pytest.approx(expected[f"{kind}_conf"], abs=1e-7)
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_images_stay_as_they_are(classifier, image):
    before = image.clone()
    PerturbedLogits(1000.0, 0.1, sparse=False)(classifier, image)
    assert image.equal(before)
    assert not image.requires_grad


def test_without_gradient_odin_moves_everything_and_iodin_the_first_value(classifier, image):
    torch.nn.init.zeros_(classifier.layer.weight)
    dense, sparse = (PerturbedLogits(1.0, 0.1, kind).step(classifier, image.clone()) for kind in (False, True))
    assert dense.flatten().tolist() == [1, 1, 1]
    assert sparse.flatten().tolist() == [1, 0, 0]


def test_gradient_survives_saturation():
    """The plain cross-entropy has gradient zero in float32 from a gap of about 17 on."""
    logits = torch.tensor([[40.0, 0.0, -1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(msp(logits).sum(), logits)
    others = torch.tensor([-40.0, -41.0]).exp()
    torch.testing.assert_close(gradient, torch.tensor([[-others.sum(), *others]]), rtol=1e-5, atol=0)


def test_msp_is_the_cross_entropy_of_the_predicted_class():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(msp(logits), cross_entropy(logits, logits.argmax(1), reduction="none"))


def test_first_of_equal_entries_is_chosen():
    assert first_largest(torch.tensor([[0.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [[1], [0]]


def test_keys_tell_values_apart():
    assert PerturbedLogits(1000, 0.0014, True).key == PerturbedLogits(1000.0, 0.0014, True).key
    assert PerturbedLogits(1000, 0.0014, True).key != PerturbedLogits(1000, 0.0014, False).key


def test_training_mode_is_an_error(classifier, image):
    with pytest.raises(OutskirtsError, match=r"classifier\.eval"):
        PerturbedLogits(1.0, 0.0, True)(classifier.train(), image)
