"""Networks that are built again where it is known where their head begins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from outskirts.models.adapter import adapt
from outskirts.models.affine import Normalize
from outskirts.models.backbones import build_backbone, build_model
from outskirts.models.heads import LinearHead
from outskirts.models.seams import Seam, blank, cut


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v2", "timm:resnet18", "resnet18-cifar"])
def test_a_network_that_is_cut_is_the_one_that_was_found(name: str) -> None:
    model, images = build_model(name, 3, 32).eval(), torch.randn(2, 3, 32, 32)
    weights, expected = model.state_dict(), model(images)
    found, _ = adapt(model, images)
    assert found.cut is not None
    again = build_model(name, 3, 32).eval()
    again.load_state_dict(weights)
    backbone, layer = cut(again, found.cut, name)
    assert backbone.dim == found.dim
    assert backbone.network.state_dict().keys() == found.network.state_dict().keys()
    assert torch.equal(layer(backbone.network(images)), expected)
    assert torch.equal(backbone.network(images), found.network(images))


def test_networks_that_are_more_than_a_layer_in_front_are_not_cut() -> None:
    model = build_model("torchvision:squeezenet1_1", 3, 64).eval()
    assert adapt(model, torch.randn(2, 3, 64, 64))[0].cut is None


def test_nothing_is_looked_at_where_the_head_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    assert build_backbone("torchvision:resnet18", 3, 32, seam=Seam(head="fc")).dim == 512


def test_weights_that_are_not_drawn_show_where_they_are_not_replaced() -> None:
    before = torch.get_rng_state()
    with blank(True, filled=True):
        layer, normal = nn.Linear(3, 2), nn.init.kaiming_normal_(torch.empty(2, 2))
        norm = nn.BatchNorm2d(2)
    assert layer.weight.isnan().all() and layer.bias.isnan().all() and normal.isnan().all()
    assert layer.weight.requires_grad
    assert torch.equal(norm.weight, torch.ones(2))
    assert torch.equal(torch.get_rng_state(), before)
    with blank(False, filled=True):
        assert nn.Linear(3, 2).weight.isfinite().all()


class Cosines(nn.Linear):
    """A linear layer by its class, and not by what it computes."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(nn.functional.normalize(features, dim=1))


def test_a_head_is_what_it_computes_not_what_it_is_derived_from() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), Cosines(5, 3, bias=False)).eval()
    images = torch.randn(6, 3, 2, 2)
    expected = model(images)
    backbone, head = adapt(model, images)
    assert isinstance(head, LinearHead)
    assert isinstance(head.inputs, Normalize)
    assert backbone.cut is None
    torch.testing.assert_close(head(backbone.network(images)), expected)
