from pathlib import Path

import pytest
import torch
from PIL import Image

from outskirts.errors import OutskirtsError
from outskirts.reporting.pictures import data_uri, thumbnail


def test_large_pictures_are_shrunk_and_damaged_ones_named(tmp_path: Path) -> None:
    noise = torch.randint(256, (1000, 3000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(tmp_path / "noise.png")
    uri = data_uri(tmp_path / "noise.png", widest=800, heaviest=100_000)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 500_000
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(OutskirtsError, match=r"broken\.png is damaged"):
        data_uri(tmp_path / "broken.png")


def test_thumbnails_are_small() -> None:
    assert thumbnail(Image.new("L", (28, 28))).startswith("data:image/png;base64,")
    large = thumbnail(Image.effect_noise((2000, 1000), 90))
    assert large.startswith("data:image/jpeg;base64,") and len(large) < 20_000
