import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError


@pytest.fixture
def check():
    def check(image_set, pictures, classes=("cat", "dog")):
        """The set is the six images with their labels, and its spec reopens it."""
        assert image_set.classes == list(classes)
        assert image_set.labels.tolist() == ([0, 0, 0, 1, 1, 1] if classes else [-1] * 6)
        for i, picture in enumerate(pictures):
            assert torch.equal(image_set.image(i), torch.from_numpy(picture).permute(2, 0, 1))
        assert osk.open(image_set.spec).fingerprint == image_set.fingerprint
        assert osk.open(image_set.spec).spec == image_set.spec

    return check


@pytest.fixture
def fails():
    def fails(spec, sentence):
        with pytest.raises(OutskirtsError, match=sentence):
            osk.open(spec)

    return fails
