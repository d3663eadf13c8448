import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from outskirts.generation.manifold.pca import centered_blocks, invariants, pca_residual


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_ratios(ratios, count=64):
    """Vectors whose principal components have exactly these shares of the variance."""
    noise = torch.randn(count, len(ratios), generator=generator(), dtype=torch.float64)
    axes = torch.linalg.qr(noise - noise.mean(0)).Q * torch.tensor(ratios, dtype=torch.float64).sqrt()
    return axes @ torch.linalg.qr(torch.randn(len(ratios), len(ratios), dtype=torch.float64, generator=generator(1))).Q


def mixed(counts=(30, 7, 12), dim=5, seed=0):
    """Classes of several sizes, shapes and means, in no order."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    scales = torch.rand(len(counts), dim, generator=generator(9)) * 3
    return torch.randn(len(labels), dim, generator=generator(seed)) * scales[labels] + labels[:, None] * 10.0, labels


def test_the_published_count_has_one_direction_more():
    values, labels = with_ratios([0.5, 0.3, 0.16, 0.04]), torch.zeros(64, dtype=torch.int64)
    assert invariants(values, labels, 1, 0.05) == 1
    assert invariants(values, labels, 1, 0.05, reference_quirks=True) == 2
    assert [invariants(values, labels, 1, share) for share in (0.01, 0.03, 0.21, 0.6)] == [1, 1, 2, 3]


def test_the_count_is_the_mean_over_classes_rounded_down():
    shapes = [[0.5, 0.3, 0.16, 0.04], [0.97, 0.01, 0.01, 0.01], [0.97, 0.01, 0.01, 0.01]]
    values = torch.cat([with_ratios(shape) + 5 * c for c, shape in enumerate(shapes)])
    labels = torch.arange(3).repeat_interleave(64)
    assert invariants(values, labels, 3, 0.05) == 2  # Of 1, 3 and 3.
    assert invariants(values, labels, 3, 0.05, reference_quirks=True) == 3  # Of 2, 4 and 4.


@pytest.mark.parametrize("dim", [5, 20])
def test_counts_agree_with_scikit_learn(dim):
    values, labels = mixed(dim=dim)
    for quirks in (False, True):
        found = []
        for label in range(3):
            ratios = PCA().fit(values[labels == label].numpy()).explained_variance_ratio_
            found.append(dim - int((ratios.cumsum() > 0.9).argmax()) - (not quirks))
        expected = min(max(1, int(np.mean(found))), dim - 1)
        assert invariants(values, labels, 3, 0.1, quirks) == expected


def test_there_is_always_an_invariant_and_always_another_coordinate():
    labels = torch.zeros(64, dtype=torch.int64)
    assert invariants(with_ratios([0.4, 0.3, 0.3]), labels, 1, 0.01) == 1
    assert invariants(torch.ones(64, 3), labels, 1, 0.01, reference_quirks=True) == 2


@pytest.mark.parametrize("dim", [5, 20])
def test_the_residual_agrees_with_scikit_learn(dim):
    (values, labels), (unseen, of) = mixed(dim=dim), mixed(dim=dim, seed=1)
    m, total = 2, 0.0
    for label in range(3):
        rows = values[labels == label].double().numpy()
        kept = min(dim - m, len(rows) - 1)
        pca = PCA(kept).fit(rows)
        centred = unseen[of == label].double().numpy() - pca.mean_
        left = centred - centred @ pca.components_.T @ pca.components_
        total += (left**2).sum() / (dim - kept)
    assert pca_residual(values, labels, unseen, of, 3, m) == pytest.approx(total / len(unseen))


@pytest.mark.parametrize("budget", [1, 2**27])
def test_blocks_hold_every_class_about_its_mean(budget):
    values, labels = mixed()
    blocks = list(centered_blocks(values, labels, 3, budget))
    assert len(blocks) == (3 if budget == 1 else 1)
    for label in range(3):
        block = next(b for b in blocks if label in range(3)[b.classes])
        at, rows = label - block.classes.start, values[labels == label].double()
        assert block.counts[at] == len(rows)
        torch.testing.assert_close(block.means[at], rows.mean(0))
        torch.testing.assert_close(block.values[at, : len(rows)], rows - rows.mean(0))
        assert not block.values[at, len(rows) :].any()
