import numpy as np
import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import ReAct, react
from outskirts.detectors.react import percentile_of
from outskirts.extraction import blocks


def test_vectors(toy, train, queries):
    detector = ReAct(percentile=90).fit(train)
    torch.testing.assert_close(detector.threshold, toy["percentile_90_10_of_F"][0])
    torch.testing.assert_close(detector.score(queries), -toy["react_p90"])
    detector.threshold = torch.tensor(1.0)
    torch.testing.assert_close(detector.score(queries), -toy["react_clip1"])


@pytest.mark.parametrize("percentile", [0, 12.5, 50, 90, 99.9, 100])
def test_percentile_is_numpys(percentile):
    values = torch.randn(37, 11, generator=torch.Generator().manual_seed(0))
    assert percentile_of(values, percentile).item() == pytest.approx(np.percentile(values.double(), percentile))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_percentile_of_more_than_is_looked_through_at_once(monkeypatch, dtype):
    monkeypatch.setattr(react, "LARGEST", 20)
    monkeypatch.setattr(blocks, "BLOCK", 50)
    g = torch.Generator().manual_seed(0)
    # Rectified: half of all is zero. And one value far from all others.
    values = torch.randn(300, 7, generator=g).clamp_min(0).to(dtype)
    values[5, 3] = 1000.0
    for percentile in (0, 1, 40, 62.3, 90, 99.99, 100):
        expected = np.percentile(values.double(), percentile)
        assert percentile_of(values, percentile).item() == pytest.approx(expected, rel=1e-12)


def test_bad_input_is_an_error(train):
    with pytest.raises(
        OutskirtsError, match=r"percentile of the detector 'react' must be a number above 0 and at most 100, not 101"
    ):
        ReAct(percentile=101)
    with pytest.raises(OutskirtsError, match="linear head"):
        ReAct().fit(train).score(Outputs(train.features, train.logits))
