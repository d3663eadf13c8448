import math

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.data.transform import Transform


def image(channels, height, width):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (channels, height, width), dtype=torch.uint8, generator=generator)


def test_an_image_of_the_right_size_is_returned_itself():
    x = image(3, 16, 16)
    assert Transform(16).host(x) is x


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(40, 20), (20, 41), (5, 7), (16, 16)])
def test_every_image_becomes_the_same_shape(channels, stored, height, width):
    transform = Transform(16, channels, resize=20)
    for room, side in ((False, 16), (True, 20)):
        y = transform.host(image(stored, height, width), room)
        assert y.dtype == torch.uint8 and y.shape == (channels, side, side)


def test_the_crop_is_central_and_resizing_keeps_the_aspect():
    x = torch.zeros(1, 8, 24, dtype=torch.uint8)
    x[:, :, 8:16] = 200
    assert (Transform(8, 1).host(x) == 200).all()
    assert (Transform(4, 1, resize=8).host(x) == 200).all()


def test_an_image_of_the_final_size_is_still_resized_before_the_crop():
    x = image(1, 8, 8)
    assert not torch.equal(Transform(8, 1, resize=16).host(x), x)


def test_luminance_is_that_of_bt601():
    x = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=torch.uint8)
    grey = Transform(4, 1).host(x.T[:, None].repeat(1, 4, 1))
    assert grey[0, 0].tolist() == [76, 150, 29, 255]


def test_grey_is_repeated_over_rgb():
    x = image(1, 8, 8)
    assert torch.equal(Transform(8).host(x), x.repeat(3, 1, 1))


def test_device_normalises():
    x = image(3, 8, 8)[None]
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    expected = torch.stack([(x[:, c] / 255 - mean[c]) / std[c] for c in range(3)], 1)
    y = Transform(8, 3, mean, std).device(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected)


def test_measured_is_the_mean_and_standard_deviation():
    x = torch.stack([image(3, 9, 9) // 2, image(3, 9, 9)])
    transform = Transform.measured(x)
    values = x.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(torch.tensor(transform.mean).double(), values.mean(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(transform.std).double(), values.std(1, correction=0), atol=1e-6, rtol=0)
    assert (transform.size, transform.channels) == (9, 3)


def test_measured_survives_a_constant_channel():
    assert min(Transform.measured(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), size=16).std) > 0


def test_json_round_trip():
    transform = Transform(32, 1, (0.25,), (0.5,), 40)
    assert Transform.from_json(transform.to_json()) == transform


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Transform(8, 4), "1 or 3 channels, not 4: .* Wrap a network"),
        (lambda: Transform(8, 3, (0.5,)), "mean has 1 values for 3 channels"),
        (lambda: Transform(8, 1, (0.5,), (0.0,)), "std must be above 0"),
        (lambda: Transform(8, 1, (math.nan,), (0.5,)), "mean must be a finite number in every channel"),
        (lambda: Transform(8, 1, (0.5,), (math.inf,)), "std must be a finite number in every channel"),
        (lambda: Transform(8, resize=4), "size must be at least 1 and at most resize=4, not 8"),
        (lambda: Transform(0), "size must be at least 1, not 0"),
        (lambda: Transform.from_json({"size": 8, "maen": [0]}), "did you mean 'mean'"),
        (lambda: Transform.from_json({}), "needs a size"),
        (lambda: Transform.measured(torch.zeros(0, 3, 8, 8, dtype=torch.uint8)), "without images"),
    ],
)
def test_errors(make, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        make()
