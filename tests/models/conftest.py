import pytest
import torch

from outskirts.seeding import isolated


@pytest.fixture
def pictures():
    def pictures(count=30, channels=1, side=8, seed=0):
        """Images in the range from -1 to 1 whose first component is their class, and their labels."""
        labels = torch.arange(count) % 3
        noise = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))
        return (0.5 * (labels - 1.0)[:, None, None, None] + 0.2 * noise).clamp(-1, 1), labels

    return pictures


@pytest.fixture(scope="session")
def autoencoder(tmp_path_factory):
    """The folder of a small autoencoder of grey images."""
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("autoencoder")
    with isolated(0, "autoencoder"):
        AutoencoderKL(
            in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, latent_channels=2,
            layers_per_block=1, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ).save_pretrained(folder)  # fmt: skip
    return folder
