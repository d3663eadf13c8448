import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from outskirts.data.transform import Transform
from outskirts.guard.export.resizing import Resized
from outskirts.seeding import generator

#: Height and width: smaller and larger than the network's input, wide, tall, of one pixel, and as they are wanted.
SIZES = ((18, 18), (16, 16), (7, 9), (90, 33), (20, 131), (1, 5), (300, 260))


def picture(height, width):
    return torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator(height, "picture"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", [None, 18])
def test_the_pixels_are_those_of_the_transform(interpolation, fit, channels, size, resize):
    mean = (0.3, 0.5, 0.7)[:channels]
    transform = Transform(16, channels, mean, resize=resize, interpolation=interpolation, fit=fit)
    pixels = picture(*size)
    known = torch.stack([transform.host(image) for image in pixels.permute(0, 3, 1, 2)])
    resized = Resized(transform)
    given = resized(pixels)
    assert given.dtype == torch.uint8
    if resized.in_bytes:
        assert torch.equal(given, known)
    else:  # Sums in float32 and in float64 round apart now and then.
        assert (given.int() - known.int()).abs().amax() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_processors_without_whole_numbers_round_once(interpolation):
    resized = Resized(Transform(16, interpolation=interpolation, fit="squash"))
    resized.in_bytes = False
    pixels = picture(45, 61)
    images = pixels.permute(0, 3, 1, 2).double()
    known = F.resize(images, [16, 16], InterpolationMode(interpolation), antialias=True).round().clamp(0, 255)
    assert torch.equal(resized(pixels), known.to(torch.uint8))
