from dataclasses import replace

import torch

from outskirts.detectors import NCI


def test_vectors(toy, train, queries):
    torch.testing.assert_close(NCI().fit(train).score(queries), -toy["nci_1e-4"])


def test_the_mean_itself_has_a_score(train):
    detector = NCI().fit(train)
    assert detector.score(replace(train[:1], features=detector.mean[None])).isfinite().all()
