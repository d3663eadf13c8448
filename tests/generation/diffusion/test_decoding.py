import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.synthesis.outliers import Outliers

pytest.importorskip("diffusers")

from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from outskirts.generation.diffusion.decoding import Decoder, Decoding
from outskirts.models.diffusion.stable import load_stable_diffusion


@pytest.fixture(scope="module")
def model(stable_folder):
    return load_stable_diffusion(stable_folder, ["cat", "dog"])


@pytest.fixture
def vectors(model):
    start = model.prompts.vectors(torch.tensor([0, 0, 1, 1]))
    return Outliers(
        start + 0.3 * torch.randn(start.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1])
    )


def test_each_image_is_of_its_own_vector_and_noise(model, vectors):
    decoder = Decoder(model, vectors, Decoding(network_evaluations=4))
    labels, numbers = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 1, 2])
    made = decoder.sample(labels, numbers, 3)
    assert made.shape == (4, 3, 16, 16) and made.dtype == torch.uint8
    assert torch.equal(made, decoder.sample(labels, numbers, 3))
    # Rounding may depend on the batch.
    assert (decoder.sample(labels[2:3], numbers[2:3], 3).int() - made[2:3].int()).abs().max() <= 2
    assert not torch.equal(made[0], made[2]), "another vector"
    assert not torch.equal(made[0], made[3]), "the same vector, other noise"
    assert not torch.equal(decoder.sample(labels, numbers, 4), made)


def test_vectors_are_found_whatever_their_order(model, vectors):
    order = torch.tensor([2, 0, 3, 1])
    other = Outliers(vectors.values[order], vectors.labels[order])
    request = (torch.tensor([1, 0]), torch.tensor([1, 0]), 0)
    one, two = (Decoder(model, each, Decoding(network_evaluations=2)).sample(*request) for each in (vectors, other))
    assert torch.equal(one, two)


def test_both_ways_to_resize(model, vectors):
    how = {"network_evaluations": 2, "guidance": 1.0}
    labels, numbers = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 5, 2])
    calls = []
    hook = model.unet.register_forward_hook(lambda module, given, found: calls.append(len(found[0])))
    made = Decoder(model, vectors, Decoding(size=8, **how)).sample(labels, numbers, 0)
    hook.remove()
    assert made.shape == (4, 3, 8, 8) and calls == [3, 3], "one pass for both"
    large = Decoder(model, vectors, Decoding(**how)).sample(torch.tensor([0, 0, 1, 0]), numbers // 2, 0)
    smooth, sharp = F.resize(large, [8, 8], antialias=True), F.resize(large, [8, 8], InterpolationMode.NEAREST)
    assert not torch.equal(smooth, sharp)
    for i, expected in enumerate((smooth[0], sharp[1], sharp[2], smooth[3])):
        assert (made[i].int() - expected.int()).abs().max() <= 2
    for kind, expected in (("bilinear", smooth), ("nearest", sharp)):
        decoder = Decoder(model, vectors, Decoding(size=8, resize=kind, **how))
        found = decoder.sample(torch.tensor([0, 0, 1, 0]), numbers // 2, 0)
        assert (found.int() - expected.int()).abs().max() <= 2


def test_the_sampler_is_on_record_unless_it_is_the_usual_one(model, vectors):
    assert "sampler" not in Decoder(model, vectors, Decoding()).about()
    assert Decoder(model, vectors, Decoding(sampler="plms")).about()["sampler"] == "plms"


def test_own_size_is_left_alone(model, vectors):
    assert not Decoder(model, vectors, Decoding(size=16)).both and Decoder(model, vectors, Decoding(size=8)).both
    assert Decoder(model, vectors, Decoding()).side == 16
    # Manifests of pools have a 0, as in version 0.1.
    assert Decoder(model, vectors, Decoding()).about() == Decoder(model, vectors, Decoding(size=16)).about() | {
        "size": 0
    }


def test_what_will_not_do(model, vectors):
    uneven = Outliers(vectors.values[:3], vectors.labels[:3])
    with pytest.raises(OutskirtsError, match="The classes have from 1 to 2 vectors"):
        Decoder(model, uneven, Decoding())
    for options, said in (
        ({"network_evaluations": 0}, "network_evaluations"),
        ({"size": 0}, "size must be at least 1"),
        ({"guidance": -1.0}, "guidance must not be negative"),
    ):
        with pytest.raises(OutskirtsError, match=said):
            Decoding(**options)
