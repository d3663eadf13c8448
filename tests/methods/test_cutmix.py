import pytest
import torch

from outskirts.data.loading.batches import Batch
from outskirts.errors import OutskirtsError
from outskirts.methods.averages import classification
from outskirts.methods.cutmix import CutMix, CutMixConfig, rectangle
from outskirts.testing import check_method


def batch(seed=0, rows=6, weights=None):
    images = torch.arange(rows).float()[:, None, None, None].expand(rows, 3, 16, 12).contiguous()
    return Batch((images,), torch.arange(rows) % 3, 1, 2, torch.Generator().manual_seed(seed), weights)


@pytest.mark.parametrize("options", [{}, {"beta": 0.3, "share": 1.0}])
def test_contract(options):
    check_method("cutmix", CutMixConfig(**options))


def test_a_rectangle_of_another_image(make):
    method, mixed = make(CutMix, CutMixConfig(share=1.0)), 0
    for seed in range(30):
        images, other, kept = method.mixed(batch(seed))
        own = torch.arange(6).float()
        inside = images[:, 0] != own[:, None, None]
        changed = inside.any(0)
        assert 1 - kept == pytest.approx(changed.float().mean().item()) or (other == torch.arange(6)).all()
        # One rectangle, the same in all images, of the other one's value.
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        if len(rows):
            mixed += 1
            block = images[:, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert (block == other.float()[:, None, None, None]).all()
    assert mixed > 20


def test_the_loss_is_that_of_both_targets(make):
    method = make(CutMix, CutMixConfig(share=1.0))
    images, other, kept = method.mixed(batch(3))
    logits = method.classifier(images)
    labels = batch().labels
    expected = kept * classification(logits, labels) + (1 - kept) * classification(logits, labels[other])
    torch.testing.assert_close(method(batch(3))["loss"], expected)
    assert 0 < kept < 1


def test_weights_follow_their_images(make):
    method = make(CutMix, CutMixConfig(share=1.0))
    weights = torch.tensor([0.5, 0.5, 0, 0, 0, 0])
    images, other, kept = method.mixed(batch(3))
    logits, labels = method.classifier(images), batch().labels
    expected = kept * classification(logits, labels, weights)
    expected = expected + (1 - kept) * classification(logits, labels[other], weights[other])
    torch.testing.assert_close(method(batch(3, weights=weights))["loss"], expected)


def test_share_of_the_steps(make):
    method = make(CutMix, CutMixConfig(share=0.3))
    kept = [method.mixed(batch(seed))[2] for seed in range(200)]
    assert 0.6 < sum(k == 1 for k in kept) / 200 < 0.8


def test_rectangles_have_the_area_asked_for():
    draws = torch.Generator().manual_seed(0)
    for kept in (0.0, 0.3, 0.75, 1.0):
        areas = []
        for _ in range(300):
            rows, columns = rectangle(32, 24, kept, draws)
            assert 0 <= rows.start <= rows.stop <= 32 and 0 <= columns.start <= columns.stop <= 24
            areas.append((rows.stop - rows.start) * (columns.stop - columns.start) / (32 * 24))
        # Some lie across the border and are cut off there.
        assert max(areas) <= 1 - kept + 1e-9
        assert kept == 1 or max(areas) > 0.8 * (1 - kept)


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"share": 1.5}])
def test_options_out_of_range(options):
    with pytest.raises(OutskirtsError, match=next(iter(options))):
        CutMixConfig(**options)
