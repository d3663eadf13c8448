import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import KNN, Combination, Energy, PerClass, TemperatureScaledMSP
from outskirts.detectors.common.members import fit_members


@pytest.fixture
def splits():
    """Training and validation images."""
    g = torch.Generator().manual_seed(0)
    labels = [torch.arange(n) % 3 for n in (80, 40)]
    # Right more often than not, so that the best temperature is neither limit.
    features = [torch.randn(len(y), 5, generator=g) + torch.eye(5)[y] for y in labels]
    return [Outputs(f, f[:, :3], y) for f, y in zip(features, labels)]


def test_each_learns_from_its_own_split(splits):
    train, val = splits
    members = [KNN(3), TemperatureScaledMSP(), Energy()]
    assert fit_members(members, train, val, "both") is val
    assert torch.equal(members[0].score(val), KNN(3).fit(train).score(val))
    assert torch.equal(members[1].temperature, TemperatureScaledMSP().fit(val).temperature)
    assert not torch.equal(members[1].temperature, TemperatureScaledMSP().fit(train).temperature)


def test_training_images_have_to_do_without_validation(splits):
    train, _ = splits
    member = TemperatureScaledMSP()
    assert fit_members([member], train, None, "both") is train
    assert torch.equal(member.temperature, TemperatureScaledMSP().fit(train).temperature)


def test_images_are_needed_of_both(splits):
    train, val = splits
    for pair in ((train[:0], val), (train, val[:0])):
        with pytest.raises(OutskirtsError, match="The detector 'both' was given no images to fit on"):
            fit_members([Energy()], *pair, "both")


def test_detectors_made_of_others_fit_them_so(splits):
    train, val = splits
    alone = TemperatureScaledMSP().fit(val).temperature
    per_class = PerClass("temperature").fit(train, val=val)
    both = Combination(["energy", "temperature"]).fit(train, val=val)
    assert torch.equal(per_class.member.temperature, alone) and torch.equal(both.members[1].temperature, alone)
