import torch

from outskirts import Outputs
from outskirts.detectors import Mahalanobis, MahalanobisEnsemble


def test_is_the_mean_of_standardised_distances():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    pooled = {f"pooled{place}": torch.randn(90, 4, generator=g) + labels[:, None] for place in (-1, -2)}
    outputs = Outputs(torch.zeros(90, 1), torch.zeros(90, 3), labels, None, pooled)
    expected = 0.0
    for values in pooled.values():
        alone = Outputs(values, outputs.logits, labels)
        distances = Mahalanobis(normalize=False).fit(alone).score(alone)
        expected += (distances - distances.mean()) / distances.std(correction=0) / 2
    torch.testing.assert_close(MahalanobisEnsemble(stages=2).fit(outputs).score(outputs), expected)
