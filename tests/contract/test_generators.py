"""Every registered generator keeps the contract."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from outskirts.generation.generators import Config, ImageGenerator, registry
from outskirts.models.diffusion import SIZES
from outskirts.models.diffusion.model import Size
from outskirts.testing import check_generator


def settings(name, folder, monkeypatch):
    """The smallest that a generator works with."""
    kind = registry[name].Config
    if name == "diffusion":
        monkeypatch.setitem(SIZES, "tiny", Size((16, 16), 1, 16, 2))
        return kind(network="tiny", epochs=1, network_evaluations=4, precision="fp32", device="cpu")
    if name == "folder":
        random = np.random.default_rng(0)
        for c in range(3):
            (folder / f"class {c}").mkdir()
            for i in range(5):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"class {c}" / f"{i}.png")
        return kind(source=f"folder:{folder}")
    if name == "pipeline":
        return kind(model=str(pipeline(folder)), steps=2)
    return kind()


def pipeline(folder: Path) -> Path:
    """A denoiser of numbered classes with random weights."""
    from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=3,
    )
    DDPMPipeline(unet, DDIMScheduler()).save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.mark.parametrize("name", registry.names())
def test_contract(name, tmp_path, monkeypatch):
    check_generator(name, settings(name, tmp_path, monkeypatch))


# What breaks it


class Sound(ImageGenerator):
    name, Config = "sound", Config

    def fit(self, images, transform, folder, progress):
        return self

    def sample(self, labels, numbers, seed):
        return torch.stack([self.one(own) for own in self.seeds(labels, numbers, seed)])

    def one(self, seed):
        return self.noise(torch.Generator().manual_seed(seed))

    def noise(self, generator):
        return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=generator)


class Global(Sound):
    def one(self, seed):
        return self.noise(None)


class Floats(Sound):
    def one(self, seed):
        return super().one(seed) / 255


class Neighbours(Sound):
    def sample(self, labels, numbers, seed):
        return super().sample(labels, numbers, seed + len(labels))


class Numberless(Sound):
    def sample(self, labels, numbers, seed):
        return super().sample(labels, torch.arange(len(labels)), seed)


class Classless(Sound):
    def sample(self, labels, numbers, seed):
        return super().sample(torch.zeros_like(labels), numbers, seed)


class Forgetful(Sound):
    fits = 0

    def fit(self, images, transform, folder, progress):
        Forgetful.fits += 1
        self.drift = Forgetful.fits
        return self

    def sample(self, labels, numbers, seed):
        return super().sample(labels, numbers, seed + self.drift)


class Overwriting(Sound):
    def sample(self, labels, numbers, seed):
        found = super().sample(labels, numbers, seed)
        numbers += 1
        return found


def test_a_minimal_generator_passes():
    check_generator(Sound)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Global, "global random state"),
        (Floats, "not uint8"),
        (Neighbours, "depends on those beside it"),
        (Numberless, "depends on those beside it|other numbers"),
        (Classless, "other classes make the same images"),
        (Forgetful, "after a second fit in its folder"),
        (Overwriting, "changes its arguments"),
    ],
)
def test_breaking_the_contract_is_told(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_generator(broken)
