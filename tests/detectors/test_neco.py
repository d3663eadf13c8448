import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import NECO


def test_equals_scikit_learns_components():
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=g).double()
    train, test = (torch.randn(n, 6, generator=g).double() @ mixing + 3 for n in (200, 9))
    scaler = StandardScaler().fit(train)
    principal = PCA(2).fit(scaler.transform(train))
    seen = scaler.transform(test)
    share = torch.tensor((principal.transform(seen) ** 2).sum(1) ** 0.5 / (seen**2).sum(1) ** 0.5)
    logits = torch.randn(9, 4, generator=g).double()
    detector = NECO(dim=2, level="published").fit(Outputs(train, train))
    torch.testing.assert_close(detector.score(Outputs(test, logits)), -share * logits.amax(1))
    alone = NECO(dim=2, logit=False).fit(Outputs(train, train))
    torch.testing.assert_close(alone.score(Outputs(test, logits)), -share)


def test_features_that_do_not_vary_do_not_count():
    train = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    train[:, 2] = 1.0
    detector = NECO(dim=1, logit=False).fit(Outputs(train, train))
    moved = torch.tensor([[0.3, -0.2, 1.0], [0.3, -0.2, 100.0]])
    one, other = detector.score(Outputs(moved, moved))
    assert one == other


def test_bad_input_is_an_error(train):
    with pytest.raises(OutskirtsError, match="dim, for features of dimension 4, of the detector 'neco' is 5"):
        NECO(dim=5).fit(train)
    with pytest.raises(OutskirtsError, match="'neco' must be a whole number of at least 1 or None, not 0"):
        NECO(dim=0)
