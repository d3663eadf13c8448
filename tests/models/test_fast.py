import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.models.fast import FastNet, HaarStem


@pytest.mark.parametrize(
    ("channels", "height", "width"),
    [(1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 30, 34), (1, 47, 47), (3, 48, 48), (3, 9, 9)],
)
def test_shapes(channels, height, width):
    network = FastNet(channels, height, widths=(4, 6, 8)).eval()
    images = torch.randn(2, channels, height, width)
    features = network(images)
    assert features.shape == (2, 8) and network.dim == 8
    torch.testing.assert_close(network(images[:1]), features[:1])


def test_large_images_are_halved_by_the_stem():
    assert FastNet(size=64).stem.stride == 2 and FastNet(size=47).stem.stride == 1


def test_images_too_small_for_three_poolings_are_told():
    with pytest.raises(OutskirtsError, match="9 pixels or more, not 8"):
        FastNet(size=8)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_is_orthonormal_and_keeps_both_signs(channels):
    stem = HaarStem(channels, stride=1).eval()
    basis = stem.basis.flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(4 * channels))
    images = torch.randn(2, channels, 8, 8)
    out = stem(images)
    assert out.shape == (2, 8 * channels, 7, 7)
    # gelu(x) - gelu(-x) = x
    white = stem.norm(torch.nn.functional.conv2d(images, stem.basis))
    torch.testing.assert_close(out[:, : 4 * channels] - out[:, 4 * channels :], white)


def test_the_basis_is_not_among_the_weights():
    assert not any("basis" in name for name in FastNet().state_dict())


@torch.no_grad()
def test_the_folded_stem_equals_normalising_after_the_convolution():
    stem = HaarStem(3, 1).train()
    images = torch.randn(64, 3, 9, 9) * 3 + 1
    stem(images)
    stem.eval()
    white = stem.norm(torch.nn.functional.conv2d(images, stem.basis))
    torch.testing.assert_close(stem(images), torch.nn.functional.gelu(torch.cat([white, -white], 1)))
