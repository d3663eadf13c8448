import pytest
import torch
from torch.nn.functional import interpolate

from outskirts import OutskirtsError
from outskirts.guard.export.graph import GuardGraph
from outskirts.guard.export.resizing import Resized
from outskirts.guard.export.verifying import noise, verified


def runner(graph, changed=lambda name, values: values):
    """Runs a graph as it is, with some outputs changed."""

    def run(pixels):
        with torch.no_grad():
            return {name: changed(name, values) for name, values in zip(graph.outputs, graph(pixels))}

    return run


@pytest.mark.parametrize("per_class", [False, True])
def test_a_right_graph_passes(guard, per_class):
    parts = guard("mahalanobis", per_class=per_class)
    compared = verified(runner(GuardGraph(parts)), parts, None)
    assert compared.images == 10 and compared.sizes == 5
    assert compared.score < 1e-5 and compared.logits < 1e-5


class Coarse(Resized):
    """A resize without antialiasing, as many runtimes have it."""

    def forward(self, pixels):
        side = self.transform.size
        images = pixels.permute(0, 3, 1, 2).float()
        return interpolate(images, (side, side), mode="bilinear").round().to(torch.uint8)


def test_a_resize_without_antialias_is_found(guard):
    parts = guard("knn:k=5")
    graph = GuardGraph(parts)
    graph.resized = Coarse(parts.classifier.transform)
    with pytest.raises(OutskirtsError, match="its score differs from the guard's by up to"):
        verified(runner(graph), parts, None)


def test_channels_in_the_wrong_order_are_found(guard):
    parts = guard()
    graph = GuardGraph(parts)
    with pytest.raises(OutskirtsError, match="differs"):
        verified(lambda pixels: runner(graph)(pixels.flip(3)), parts, None)


CHANGES = {
    "its logits differs": lambda name, values: values + 0.01 if name == "logits" else values,
    "its p-values do not follow": lambda name, values: ~values if name == "accepted" else values,
    "p-values do not follow": lambda name, values: values * 0.9 if name == "p_value" else values,
    "its score differs": lambda name, values: values * torch.nan if name == "score" else values,
    "gives another verdict": lambda name, values: 2 - values if name == "label" else values,
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_what_else_may_be_wrong(guard, sentence):
    parts = guard()
    with pytest.raises(OutskirtsError, match=sentence):
        verified(runner(GuardGraph(parts), CHANGES[sentence]), parts, None)


def test_noise_has_sizes_below_and_above_the_network(guard):
    transform = guard().classifier.transform
    shapes = [item.shape[:2] for item in noise(transform).items]
    assert min(map(min, shapes)) < transform.size < max(map(max, shapes))
    assert any(height != width for height, width in shapes)
