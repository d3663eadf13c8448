"""The nearest training images, against the distances of all pairs."""

import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.extraction.forward import PassOptions
from outskirts.guard.nearest import nearest


def test_the_nearest_training_images_are_those_of_all_pairs(guard, bugs):
    images, train = osk.open(str(bugs / "fog")), osk.open(str(bugs / "train"))
    found = nearest(guard, images, train, 3, PassOptions(batch_size=7))
    features = [
        torch.nn.functional.normalize(osk.extract(guard.classifier, one).features, dim=1) for one in (images, train)
    ]
    whole = torch.cdist(*features, compute_mode="donot_use_mm_for_euclid_dist").sort(dim=1)
    assert torch.allclose(found.distances, whole.values[:, :3], atol=1e-3)
    assert found.places.shape == (12, 3)
    assert torch.allclose(
        whole.values.gather(1, whole.indices.argsort(1).gather(1, found.places)), found.distances, atol=1e-3
    )
    itself = nearest(guard, train, train, 1, PassOptions())
    assert itself.distances.max() < 1e-2
    with pytest.raises(OutskirtsError, match="no training images to compare with"):
        nearest(guard, images, train.subset([]), 3, PassOptions())
