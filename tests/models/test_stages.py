import pytest
import torch
import torchvision
from torch import nn

from outskirts import OutskirtsError
from outskirts.models.fast import FastNet
from outskirts.models.stages import find_stages, hooked, stage


def test_stages_of_known_networks():
    resnet = torchvision.models.resnet18(weights=None).eval()
    assert find_stages(resnet, torch.zeros(1, 3, 64, 64)) == ["relu", "layer1", "layer2", "layer3", "layer4"]
    fast = FastNet(3, 32, (8, 8, 8)).eval()
    assert find_stages(fast, torch.zeros(1, 3, 32, 32)) == ["stem", "blocks.0", "blocks.1", "blocks"]
    assert stage(find_stages(fast, torch.zeros(1, 3, 32, 32)), -2) == "blocks.1"


def test_a_network_without_maps_says_so():
    with pytest.raises(OutskirtsError, match="has 0 stages of feature maps"):
        stage(find_stages(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.zeros(1, 3, 2, 2)), -1)


def test_hooks_change_outputs_and_go_away():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten())
    images = torch.rand(3, 1, 4, 4)
    before = network(images)
    seen = []
    with hooked(network, {"0": [lambda maps: maps * 0, lambda maps: seen.append(maps.clone())]}):
        assert not network(images).any()
    assert not seen[0].any()
    assert network(images).equal(before)
