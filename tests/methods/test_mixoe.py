import pytest
import torch
from torch.nn.functional import cross_entropy

from outskirts.data.loading.batches import Batch
from outskirts.errors import OutskirtsError
from outskirts.methods.mixoe import MixOE, MixOEConfig
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe


def batch(seed=0, rows=6, outliers=6):
    """Images are 1 to 6 everywhere, outliers -1 to -6."""
    images = (torch.arange(rows) + 1.0)[:, None, None, None].expand(rows, 3, 16, 12).contiguous()
    beside = -(torch.arange(outliers) + 1.0)[:, None, None, None].expand(outliers, 3, 16, 12).contiguous()
    labels = torch.arange(rows) % 3
    return Batch((images,), labels, 1, 2, torch.Generator().manual_seed(seed), outliers=beside)


@pytest.mark.parametrize("options", [{}, {"mix": "mixup", "alpha": 0.1, "outlier_weight": 0.5}])
def test_contract(options):
    check_method("mixoe", MixOEConfig(**options))


def test_shares_are_those_of_the_pixels(make):
    number = torch.arange(6.0)[:, None, None, None] + 1
    for kind in ("cutmix", "mixup"):
        method, shares = make(MixOE, MixOEConfig(mix=kind)), []
        for seed in range(30):
            images, share = method.mixed(batch(seed))
            # Of image k all that is not of outlier k, whose values are -k.
            of_image = (images / number + 1) / 2
            torch.testing.assert_close(of_image.mean((1, 2, 3)), torch.full((6,), share), rtol=1e-4, atol=1e-4)
            assert kind == "mixup" or set(of_image.unique().tolist()) <= {0.0, 1.0}
            shares.append(share)
        assert min(shares) < 0.5 and max(shares) > 0.7 and all(0 <= share <= 1 for share in shares)


def test_few_outliers_go_with_several_images(make):
    images, share = make(MixOE, MixOEConfig(mix="mixup")).mixed(batch(3, outliers=2))
    one, two = (share * (k + 1.0) - (1 - share) * (k % 2 + 1) for k in (0, 5))
    assert images[0].mean().item() == pytest.approx(one, rel=1e-4)
    assert images[5].mean().item() == pytest.approx(two, rel=1e-4)


def test_the_loss_is_the_cross_entropy_of_soft_targets(make):
    method = make(MixOE, MixOEConfig(outlier_weight=0.7))
    images, share = method.mixed(batch(3))
    labels = batch().labels
    targets = share * torch.eye(3)[labels] + (1 - share) / 3
    expected = cross_entropy(method.classifier(batch().images), labels)
    expected = expected + 0.7 * cross_entropy(method.classifier(images), targets)
    torch.testing.assert_close(method(batch(3))["loss"], expected, rtol=1e-4, atol=1e-5)
    assert 0 < share < 1


def test_presets_and_needs():
    assert resolve_recipe("mixoe", {}, "openood").settings == MixOEConfig(alpha=0.1, beta=1.0)
    assert MixOEConfig().needs_outlier_images
    with pytest.raises(OutskirtsError, match="alpha"):
        MixOEConfig(alpha=0)
