import numpy as np
import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import KNN, knn
from outskirts.evaluation.evaluate import lacking
from outskirts.neighbours.approximate import InvertedIndex
from outskirts.neighbours.exact import kth_distance


@pytest.fixture
def sets() -> list[Outputs]:
    g = torch.Generator().manual_seed(0)
    return [Outputs(torch.randn(n, 6, generator=g), torch.zeros(n, 2)) for n in (40, 15)]


def test_vector():
    """T8 of the specification: rows among themselves, each its own first neighbour."""
    rows = torch.tensor([[1, 0], [2, 0.2], [3, -0.3], [1, 1], [0, 2]], dtype=torch.float64)
    rows = rows / rows.norm(dim=1, keepdim=True)
    expected = {
        2: [0.0099256196, 0.0099256196, 0.0099256196, 0.4520854016, 0.5857864376],
        3: [0.0099256196, 0.0396039604, 0.0396039604, 0.5857864376, 1.8009925620],
    }
    for k, distances in expected.items():
        found = kth_distance(rows, rows, k)
        torch.testing.assert_close(found, torch.tensor(distances, dtype=torch.float64), rtol=0, atol=1e-10)


def test_equals_an_exhaustive_search(sets):
    train, test = sets
    unit = [(s.features / s.features.norm(dim=1, keepdim=True)).double().numpy() for s in sets]
    squared = ((unit[1][:, None] - unit[0][None]) ** 2).sum(2)
    for k in (1, 7, 40):
        found = KNN(k).fit(train).score(test).double().numpy()
        np.testing.assert_allclose(found, np.sort(squared, axis=1)[:, k - 1], atol=2e-6)


def test_grows_with_k_and_forgets_scale_and_order(sets):
    train, test = sets
    scores = torch.stack([KNN(k).fit(train).score(test) for k in (1, 2, 5, 20, 40)])
    assert (scores.diff(dim=0) >= 0).all() and (scores[-1] > scores[0]).all()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    scaled = Outputs(7 * train.features[order], train.logits)
    torch.testing.assert_close(KNN(5).fit(scaled).score(Outputs(test.features / 3, test.logits)), scores[2])


def test_features_without_direction_and_k_beyond_the_training_set(sets):
    train, _ = sets
    scores = KNN(3).fit(train).score(Outputs(torch.zeros(1, 6), torch.zeros(1, 2)))
    torch.testing.assert_close(scores, torch.ones(1))
    with pytest.raises(OutskirtsError, match="neighbour 41 among 40 training images; choose k of at most 40"):
        KNN(41).fit(train)


def test_distances_on_the_sphere(sets):
    train, test = sets
    on_sphere = [Outputs(torch.zeros(len(s), 2), s.logits, extra={"projection": s.features}) for s in sets]
    detector = KNN(5, space="projection").fit(on_sphere[0])
    assert torch.equal(detector.score(on_sphere[1]), KNN(5).fit(train).score(test))
    assert lacking(KNN(5, space="projection"), train) == "needs projection, which this classifier does not give"
    with pytest.raises(OutskirtsError, match="projection"):
        KNN(space="projektion")


def test_an_inverted_file_finds_most_of_them(tmp_path):
    g = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 6, generator=g)
    train, test = (
        Outputs(centres[torch.randint(20, (n,), generator=g)] + 0.2 * torch.randn(n, 6, generator=g), torch.zeros(n, 2))
        for n in (3000, 200)
    )
    exact, lists = KNN(5).fit(train), KNN(5, index="faiss").fit(train)
    close = (lists.score(test) - exact.score(test)).abs() < 1e-5
    assert close.double().mean() > 0.9 and (lists.score(test) >= exact.score(test) - 1e-5).all()
    lists.save(tmp_path / "knn")
    assert KNN.load(tmp_path / "knn").score(test).equal(lists.score(test))
    whole = InvertedIndex(exact.bank, searched=1.0).distances(exact.bank[:50], 7)
    torch.testing.assert_close(whole, knn.distances(exact.bank[:50], exact.bank, 7), atol=1e-5, rtol=0)
    # More neighbours than are compared.
    assert InvertedIndex(exact.bank[:80], searched=0.01).distances(exact.bank[:9], 60).isfinite().all()


def test_neighbours_are_sought_once_in_a_sweep(sets, monkeypatch):
    train, test = sets
    calls = []
    once = knn.distances
    monkeypatch.setattr(knn, "distances", lambda *given, **more: calls.append(given[2]) or once(*given, **more))
    sweep = {k: KNN(k).fit(train).score(test) for k in (30, 7, 1)}
    assert calls == [30]
    for k, found in sweep.items():
        alone = [Outputs(s.features, s.logits) for s in sets]
        assert KNN(k).fit(alone[0]).score(alone[1]).equal(found)
    sweep = KNN(40).fit(train).score(test)
    assert calls[-1] == 40 and (sweep >= 0).all()


def test_another_bank_has_other_lengths(sets):
    detector = KNN(k=2)
    for scale in (1, 9):
        train = Outputs(scale * sets[0].features - 3, sets[0].logits)
        assert torch.equal(detector.fit(train).score(sets[1]), KNN(k=2).fit(train).score(sets[1]))
