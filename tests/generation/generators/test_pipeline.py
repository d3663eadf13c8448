"""The pipelines are real ones, with networks made from tiny configurations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from outskirts.data.imageset import ImageSet
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.generation.generators import registry
from outskirts.seeding import isolated

diffusers = pytest.importorskip("diffusers")

IMAGES = ImageSet([np.full((16, 16, 3), 9, np.uint8)] * 6, torch.arange(6) % 3, ["ant", "bee", "fly"])


def fitted(folder, side=16, **options):
    part = registry["pipeline"]
    generator = part(part.Config(model=str(folder), steps=2, **options))
    return generator.fit(IMAGES, Transform(side, 3), Path("unused"), lambda *state: None)


@pytest.fixture(scope="session")
def folders(tmp_path_factory, stable_folder):
    root = tmp_path_factory.mktemp("pipelines")
    small = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    with isolated(0, "pipelines"):
        vae = diffusers.AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, latent_channels=2, layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        transformer = diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=4, in_channels=2, out_channels=4, num_layers=1, sample_size=8,
            num_embeds_ada_norm=7,
        )  # fmt: skip
        diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler()).save_pretrained(root / "dit")
        for name, classes in (("numbered", 5), ("unconditional", None)):
            unet = diffusers.UNet2DModel(sample_size=16, num_class_embeds=classes, **small, **blocks)
            diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(root / name)
    (root / "texts").symlink_to(stable_folder)
    return root


def test_a_denoiser_that_knows_no_size(folders, tmp_path):
    shutil.copytree(folders / "numbered", tmp_path / "numbered")
    about = tmp_path / "numbered" / "unet" / "config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "sample_size": None}))
    with pytest.raises(OutskirtsError, match=r"config\.json has no sample_size"):
        fitted(tmp_path / "numbered")


@pytest.mark.parametrize("kind", ["dit", "numbered", "texts"])
def test_images_of_classes(folders, kind):
    generator = fitted(folders / kind)
    labels, numbers = torch.tensor([0, 2, 0]), torch.tensor([0, 0, 1])
    made = generator.sample(labels, numbers, 0)
    assert made.shape == (3, 3, 16, 16) and made.dtype == torch.uint8
    assert torch.equal(made, generator.sample(labels, numbers, 0))
    # Rounding may depend on the batch.
    alone = generator.sample(labels[1:2], numbers[1:2], 0)
    assert (made[1:2].int() - alone.int()).abs().max() <= 2
    other = generator.sample(torch.tensor([1, 2, 0]), numbers, 0)
    assert not torch.equal(other[0], made[0]), "the class matters"
    kept = generator.learned()["weights"]
    assert kept and all((folders / kind / name).is_file() and len(digest) == 64 for name, digest in kept.items())


def test_sizes_and_class_numbers(folders):
    labels = torch.tensor([0, 1])
    assert fitted(folders / "numbered", side=12).sample(labels, labels, 0).shape == (2, 3, 12, 12)
    one = fitted(folders / "numbered", class_ids="4,2,0").sample(torch.tensor([0]), torch.tensor([0]), 0)
    two = fitted(folders / "numbered").sample(torch.tensor([0]), torch.tensor([0]), 0)
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("unconditional", {}, "takes neither texts nor classes"),
        ("texts", {"prompt": "a photo"}, "has no {} for the name"),
        ("numbered", {"class_ids": "1,2"}, "There are 3 classes and 2 class_ids"),
        ("numbered", {"class_ids": "1,x,2"}, "whole numbers"),
        ("nowhere", {}, "is not a folder of a diffusers pipeline"),
    ],
)
def test_pipelines_that_will_not_do(folders, kind, options, said):
    with pytest.raises(OutskirtsError, match=said):
        fitted(folders / kind, **options)


def test_a_damaged_pipeline(folders, tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}')
    with pytest.raises(OutskirtsError, match="cannot be loaded"):
        fitted(tmp_path)
    with pytest.raises(OutskirtsError, match="Say where the pipeline is"):
        fitted("")


def test_code_in_the_folder_is_never_run(folders, tmp_path):
    ran = tmp_path / "ran"
    folder = tmp_path / "pipeline"
    shutil.copytree(folders / "numbered", folder)
    code = f"open({str(ran)!r}, 'w').close()\nfrom diffusers import UNet2DModel as UNet, DDPMPipeline as Pipeline\n"
    index = json.loads((folder / "model_index.json").read_text())
    for name, changed in (
        ("evil.py", {"_class_name": ["evil", "Pipeline"]}),
        ("unet/evil.py", {"unet": ["evil", "UNet"]}),
        ("unet/diffusers.py", {}),
    ):
        (folder / name).write_text(code)
        (folder / "model_index.json").write_text(json.dumps({**index, **changed}))
        with pytest.raises(OutskirtsError, match=r"holds code|must name|makes the part"):
            fitted(folder)
        (folder / name).unlink()
        if changed:
            with pytest.raises(OutskirtsError, match=r"must name|makes the part"):
                fitted(folder)
    assert not ran.exists()


def test_pickled_weights_are_not_read(folders, tmp_path):
    shutil.copytree(folders / "numbered", tmp_path / "pickled")
    (weights,) = (tmp_path / "pickled" / "unet").glob("*.safetensors")
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(OutskirtsError, match="cannot be loaded"):
        fitted(tmp_path / "pickled")


def test_damaged_weights_are_told(folders, tmp_path):
    shutil.copytree(folders / "numbered", tmp_path / "damaged")
    (weights,) = (tmp_path / "damaged" / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(OutskirtsError, match="cannot be loaded"):
        fitted(tmp_path / "damaged")


def test_a_class_that_diffusers_lacks(folders, tmp_path):
    shutil.copytree(folders / "numbered", tmp_path / "newer")
    index = json.loads((folders / "numbered" / "model_index.json").read_text())
    (tmp_path / "newer" / "model_index.json").write_text(json.dumps({**index, "_class_name": "NoSuchPipeline"}))
    with pytest.raises(OutskirtsError, match="cannot be loaded"):
        fitted(tmp_path / "newer")
