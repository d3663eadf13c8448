import pytest
import scipy.stats
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import KLMatching
from outskirts.detectors.kl_matching import templates


def test_vectors(toy, train, queries):
    torch.testing.assert_close(KLMatching().fit(train).score(queries), -toy["klm_stats_on_F"])


def test_equals_the_formula():
    g = torch.Generator().manual_seed(0)
    val, test = (3 * torch.randn(n, 5, generator=g).double() for n in (60, 20))
    means = templates(val)
    expected = [min(scipy.stats.entropy(p, q) for q in means.numpy()) for p in test.softmax(1).numpy()]
    found = KLMatching().fit(Outputs(val, val)).score(Outputs(test, test))
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_a_class_that_is_never_predicted_has_no_template():
    logits = torch.tensor([[5.0, 0.0, -9.0], [4.0, 0.0, -9.0], [0.0, 3.0, -9.0]])
    assert templates(logits).shape == (2, 3)


def test_sure_predictions_stay_finite():
    sure = torch.tensor([[2000.0, 0.0], [0.0, 2000.0]])
    score = KLMatching().fit(Outputs(sure, sure)).score(Outputs(sure, sure))
    assert score.isfinite().all() and score.abs().max() < 1e-6
    half = torch.zeros(1, 2)
    assert KLMatching().fit(Outputs(sure, sure)).score(Outputs(half, half)).isfinite().all()


def test_bad_input_is_an_error(train):
    with pytest.raises(OutskirtsError, match="no images to fit on"):
        KLMatching().fit(train[:0])
