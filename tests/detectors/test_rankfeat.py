import torch
from torch import nn

from outskirts.detectors.rankfeat import RankReducedLogits, without_first


def test_vectors(vectors):
    known = {key: torch.tensor(value) for key, value in vectors["V17_rankfeat"].items()}
    torch.testing.assert_close(without_first(known["M"][None, :, None])[0, :, 0], known["out"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        without_first(known["M"].T[None, :, None])[0, :, 0], known["out"].T, atol=1e-5, rtol=1e-5
    )


def test_the_probe_changes_one_stage_at_a_time():
    g = torch.Generator().manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AvgPool2d(2), nn.Flatten())

        def features(self, images):
            return self.backbone(images)

        def forward(self, images):
            return self.features(images)

    net, images = Net().eval(), torch.randn(4, 2, 4, 4, generator=g)
    with torch.no_grad():
        first = net.backbone[0](images)
        pooled = net.backbone[1](first)
        expected = (without_first(pooled).flatten(1) + net.backbone[1](without_first(first)).flatten(1)) / 2
    torch.testing.assert_close(RankReducedLogits((-1, -2))(net, images), expected)
