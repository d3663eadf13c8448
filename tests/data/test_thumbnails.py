import io

import numpy as np
import torch
from PIL import Image

from outskirts.data.thumbnails import sheet


def test_images_of_any_size_are_beside_each_other():
    images = [torch.full((3, 10, 20), 200, dtype=torch.uint8), torch.full((1, 300, 200), 90, dtype=torch.uint8)] * 2
    with Image.open(io.BytesIO(sheet(iter(images), columns=3, side=40))) as png:
        pixels = np.asarray(png)
    assert pixels.shape == (2 * 43 - 3, 3 * 43 - 3, 4)
    assert pixels[0, 0].tolist() == [200, 200, 200, 255] and pixels[39, 43].tolist() == [90, 90, 90, 255]
    assert pixels[30, 0, 3] == 0


def test_no_image_is_no_sheet():
    assert sheet([]) is None
