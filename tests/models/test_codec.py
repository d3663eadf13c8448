import numpy as np
import pytest
import torch

from outskirts.errors import OutskirtsError

pytest.importorskip("diffusers")

from outskirts.models.diffusion import DiffusionModel
from outskirts.models.diffusion.codec import PatchCodec, load_codec


@pytest.mark.parametrize(("channels", "patch"), [(1, 2), (3, 2), (3, 4), (1, 1)])
def test_all_components_lose_nothing(channels, patch, pictures):
    images, _ = pictures(20, channels)
    codec = PatchCodec(channels, patch, channels * patch**2).fit(images)
    codes = codec.encode(images)
    assert codes.shape == (20, channels * patch**2, 8 // patch, 8 // patch)
    torch.testing.assert_close(codec.decode(codes), images, rtol=0, atol=1e-5)
    rows = codes.movedim(1, 3).flatten(0, 2)
    torch.testing.assert_close(rows.T.cov().view(rows.shape[1], -1), torch.eye(rows.shape[1]), rtol=0, atol=1e-4)


def test_constant_images_have_codes_of_zero():
    codes = PatchCodec(1, 2, 4).fit(torch.ones(5, 1, 8, 8)).encode(torch.ones(5, 1, 8, 8))
    assert codes.abs().max() < 1e-3


def test_codes_are_exact_in_mixed_precision(pictures):
    images, _ = pictures(20)
    codec = PatchCodec(1, 2, 4).fit(images)
    with torch.autocast("cpu", torch.bfloat16):
        codes = codec.encode(images)
        again = codec.decode(codes)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(again, images, rtol=0, atol=1e-5)


def test_fewer_components_lose_the_least(pictures):
    images, _ = pictures(40, 3)
    patches = torch.nn.functional.pixel_unshuffle(images, 2).movedim(1, 3).flatten(0, 2).numpy()
    singular = np.linalg.svd(patches - patches.mean(0), compute_uv=False)
    codec = PatchCodec(3, 2, 5).fit(images)
    lost = (codec.decode(codec.encode(images)) - images).square().sum().item()
    assert lost == pytest.approx((singular[5:] ** 2).sum(), rel=1e-3)


def test_an_autoencoder_as_codec(autoencoder, tmp_path, pictures):
    images, _ = pictures(40)
    codec = load_codec(autoencoder)
    codes = codec.fit(images).encode(images)
    assert codes.shape == (40, 2, 4, 4) and codes.std().item() == pytest.approx(1, abs=1e-4)
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    # Diffusers' own arithmetic.
    codec.save_pretrained(tmp_path)
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
        torch.testing.assert_close(codes, expected, rtol=1e-4, atol=1e-4)
        decoded = vae.decode(expected / vae.config.scaling_factor).sample
    torch.testing.assert_close(codec.decode(codes), decoded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(load_codec(tmp_path).encode(images), codes, rtol=1e-5, atol=1e-5)


def test_codecs_that_will_not_do(autoencoder, tmp_path):
    with pytest.raises(OutskirtsError, match=r"it has no config\.json"):
        load_codec(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(OutskirtsError, match="holds a VQModel; only an AutoencoderKL"):
        load_codec(tmp_path)
    (tmp_path / "config.json").write_text((autoencoder / "config.json").read_text())
    with pytest.raises(OutskirtsError, match="cannot be loaded"):
        load_codec(tmp_path)
    with pytest.raises(OutskirtsError, match="images with 1 channels, but these have 3"):
        DiffusionModel("tiny", ["ant", "bee", "fly"], 3, 8, load_codec(autoencoder))
