import pytest
import torch

from outskirts import OutskirtsError
from outskirts.data.selection import class_positions, part_bounds, quantiles

LABELS = torch.tensor([0] * 100 + [1] * 37 + [2] * 1 + [-1] * 9)


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_even_in_every_class(seed):
    position = quantiles(LABELS, seed)
    assert ((position > 0) & (position < 1)).all()
    for label in LABELS.unique():
        mine = position[label == LABELS].sort().values
        assert torch.equal((mine * len(mine)).floor().long(), torch.arange(len(mine)))


def test_quantiles_depend_on_the_seed_alone():
    assert torch.equal(quantiles(LABELS, 3), quantiles(LABELS, 3))
    assert not torch.equal(quantiles(LABELS, 3), quantiles(LABELS, 4))


def test_quantiles_are_not_in_the_order_of_the_images():
    position = quantiles(torch.zeros(200), 0)
    assert abs(torch.corrcoef(torch.stack([position, torch.arange(200.0).double()]))[0, 1]) < 0.3


@pytest.mark.parametrize("text", ["", "60", "60-", "0-101%", "70-60%", "60-60%", "a-b%", "-5-10%"])
def test_a_bad_part_is_named(text):
    with pytest.raises(OutskirtsError, match="range of per cent such as 0-60%"):
        part_bounds(text)


def test_a_name_goes_before_a_position():
    assert class_positions("7,0", ["6", "7", "8"], "a set") == [1, 0]
    assert class_positions(["a,b", "a-b"], ["a-b", "a,b"], "a set") == [1, 0]


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ("0-3", "There are no classes 0-3 in a set: it has 3 classes, which count from 0"),
        ("2-1", "There are no classes 2-1"),
        ("dgo", "There is no class 'dgo' in a set; did you mean 'dog'"),
        ("", "There is no class '' in a set"),
    ],
)
def test_a_bad_class_is_named(chosen, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        class_positions(chosen, ["cat", "dog", "cow"], "a set")
