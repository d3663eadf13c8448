import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import ViM
from outskirts.detectors.residual import residual


def test_vectors(toy, train, queries):
    detector = ViM(dim=2, level="published").fit(train)
    torch.testing.assert_close(detector.origin, toy["vim_u"])
    torch.testing.assert_close(detector.alpha, toy["vim_alpha_dim2"])
    torch.testing.assert_close(detector.score(queries), -toy["vim_dim2"])


def test_residual_is_what_the_principal_space_leaves(train, queries):
    detector = ViM(dim=2, level="published").fit(train)
    centred = train.features - detector.origin
    principal = torch.linalg.svd(centred).Vh[:2]
    seen = queries.features - detector.origin
    expected = (seen - seen @ principal.T @ principal).norm(dim=1)
    torch.testing.assert_close(residual(queries, detector.origin, detector.complement, "vim"), expected)


def test_default_is_half_the_dimension(train):
    assert ViM().fit(train).complement.shape == (4, 2)


def test_bad_input_is_an_error(train):
    with pytest.raises(OutskirtsError, match="dim, for features of dimension 4, of the detector 'vim' is 4"):
        ViM(dim=4).fit(train)
    with pytest.raises(OutskirtsError, match="linear head"):
        ViM().fit(Outputs(train.features, train.logits))
    flat = Outputs(torch.ones(5, 4), torch.ones(5, 3), None, (torch.eye(3, 4), torch.zeros(3)))
    with pytest.raises(OutskirtsError, match="no residual"):
        ViM().fit(flat)


def test_nested_spaces_are_measured_once(train, queries, monkeypatch):
    from outskirts.detectors import residual as module

    calls = []
    once = module.outside_norms
    monkeypatch.setattr(module, "outside_norms", lambda *given: calls.append(given) or once(*given))
    sweep = [ViM(dim=dim).fit(train).score(queries) for dim in (1, 2, 3)]
    assert len(calls) == 2  # The training images', and the queries'.
    for dim, found in zip((1, 2, 3), sweep):
        alone = Outputs(train.features, train.logits, train.labels, train.head)
        again = Outputs(queries.features, queries.logits, None, queries.head)
        torch.testing.assert_close(ViM(dim=dim).fit(alone).score(again), found)
