"""Labels and names of classes are taken as they are, or refused."""

import numpy as np
import pytest
import torch

from outskirts import ImageSet, OutskirtsError

PIXELS = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 1, 1, -1]), [0, 1, 1, -1], np.array([0.0, 1.0, 1.0, -1.0]), torch.tensor([0, 1, 1, -1.0])],
)
def test_whole_numbers_of_any_type_are_labels(labels):
    images = ImageSet(PIXELS, labels)
    assert images.labels.dtype == torch.int64 and images.labels.tolist() == [0, 1, 1, -1]
    assert images.classes == ["0", "1"]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (torch.tensor([0.5, 1, 2, 0]), "needs labels that are whole numbers"),
        ([0, 1, float("nan"), 0], "needs labels that are whole numbers"),
        (["cat", "dog", "cat", "dog"], "needs labels that are whole numbers"),
        ([0, 1, -7, 0], "has the label -7; -1 alone stands for none"),
        ([0, 1, 1], "has 4 images but 3 labels"),
    ],
)
def test_what_would_be_changed_is_refused(labels, told):
    with pytest.raises(OutskirtsError, match=told):
        ImageSet(PIXELS, labels)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("ab", "classes must be a list, not 'ab'"),
        ([1, 2], "has the class 1; each class needs a text as its name"),
        (["a", ""], "has the class ''; each class needs a text"),
        (["a", "a"], "has two classes called 'a'"),
        (["a"], "has the label 1 but 1 class"),
    ],
)
def test_names_of_classes_are_texts(classes, told):
    with pytest.raises(OutskirtsError, match=told):
        ImageSet(PIXELS, [0, 1, 0, 1], classes)
