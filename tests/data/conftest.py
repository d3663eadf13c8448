import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def pictures():
    """Six different colour images, uint8 [6, 8, 10, 3]."""
    return np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path, pictures):
    """The six images as lossless files in the folders cat and dog, three in each."""
    paths = [tmp_path / "set" / ("cat", "dog")[i // 3] / f"{i} a.png" for i in range(6)]
    for path, picture in zip(paths, pictures):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return paths


@pytest.fixture
def shared_data():
    folder = Path(os.environ.get("OUTSKIRTS_SHARED_DATA") or SHARED)
    if not folder.is_dir():
        pytest.skip("the shared image data is not there; name its folder in OUTSKIRTS_SHARED_DATA")
    return folder
