import torch
from torch import nn

from outskirts.data.imageset import ImageSet
from outskirts.data.transform import Transform
from outskirts.detectors.gram import GramSums
from outskirts.detectors.mahalanobis_ensemble import PooledMaps
from outskirts.extraction.extract import extract
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.fast import FastNet
from outskirts.models.heads import LinearHead
from outskirts.seeding import isolated


def test_maps_come_of_the_one_pass(tmp_path):
    with isolated(0, "net"):
        network = FastNet(3, 32, (6, 6, 6))
        classifier = Classifier(Backbone(network, 6, "fast"), LinearHead(nn.Linear(6, 2)), Transform(32), ["a", "b"])
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    pixels = torch.randint(256, (10, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = ImageSet(pixels.movedim(1, 3).numpy(), torch.arange(10) % 2, ["a", "b"], spec="noise")
    probes = [PooledMaps(-1), PooledMaps(-3), GramSums(-2, 3)]
    outputs = extract(classifier, images, probes=probes, store=tmp_path, batch_size=10)
    # One pass over the images, beside that of one image which finds the stages.
    assert len(calls) == 2
    with torch.no_grad():
        x = classifier.transform.device(pixels)
        stem = network.stem(x)
        middle = network.blocks[:2](stem)
        torch.testing.assert_close(outputs.extra["pooled-3"], network.blocks[:1](stem).mean((2, 3)))
        torch.testing.assert_close(outputs.extra["pooled-1"], network.blocks[2](middle).mean((2, 3)))
        torch.testing.assert_close(outputs.extra["gram-2-3"], GramSums(-2, 3).reduce(middle))
        torch.testing.assert_close(PooledMaps(-1)(classifier, x), outputs.extra["pooled-1"])
    # From the store, and no pass at all.
    calls.clear()
    again = extract(classifier, images, probes=probes, store=tmp_path, batch_size=10)
    assert not calls and again.extra["gram-2-3"].equal(outputs.extra["gram-2-3"])
