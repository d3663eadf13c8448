import math
from dataclasses import replace

import pytest
import scipy.stats
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import OpenMax
from outskirts.detectors.openmax import fit_weibull


def test_the_weibull_is_scipys():
    values = torch.tensor(
        scipy.stats.weibull_min.rvs([2.0, 7.0, 40.0], scale=[1.0, 5.0, 1.2], size=(300, 3), random_state=0)
    )
    shapes, scales = fit_weibull(values.T)
    for row, shape, scale in zip(values.T.numpy(), shapes.flatten(), scales.flatten()):
        expected, _, expected_scale = scipy.stats.weibull_min.fit(row, floc=0)
        assert shape.item() == pytest.approx(expected, rel=1e-3)
        assert scale.item() == pytest.approx(expected_scale, rel=1e-3)


@pytest.fixture
def logits():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    return Outputs(torch.zeros(400, 1), 6 * torch.eye(4)[labels] + torch.randn(400, 4, generator=g), labels)


def test_equals_the_formula(logits):
    detector = OpenMax(tail=9, top=3).fit(logits)
    right = logits.logits.argmax(1) == logits.labels
    logits = replace(logits, logits=logits.logits - logits.logits.mean(1, keepdim=True))
    means, models = [], []
    for c in range(4):
        own = logits.logits[right & (logits.labels == c)].double()
        means.append(own.mean(0))
        tail = (own - means[-1]).norm(dim=1).sort().values[-9:].numpy()
        models.append((tail.min(), scipy.stats.weibull_min.fit(tail - tail.min() + 1, floc=0)))
    queries = torch.tensor([[6.0, 0.0, 1.0, -1.0], [9.0, 5.0, 4.0, 2.0], [0.5, 0.4, 0.3, 0.2]])
    for query, found in zip(queries.double(), detector.score(Outputs(torch.zeros(3, 1), queries))):
        query = query - query.mean()
        known, unknown = query.clone(), 0.0
        for rank, c in enumerate(query.argsort(descending=True)[:3].tolist()):
            least, (shape, _, scale) = models[c]
            distance = (query - means[c]).norm().item() - least + 1
            beyond = 1 - math.exp(-((max(0.0, distance) / scale) ** shape))
            lost = query[c].item() * (3 - rank) / 3 * beyond
            known[c] -= lost
            unknown += lost
        expected = math.exp(unknown) / (math.exp(unknown) + known.exp().sum().item())
        assert math.exp(found) == pytest.approx(expected, rel=2e-2)


def test_bad_input_is_an_error(logits):
    few = logits[(logits.labels != 2) | (torch.arange(400) < 4)]
    with pytest.raises(OutskirtsError, match="two correctly classified training images of every class, but class 2"):
        OpenMax().fit(few)
    with pytest.raises(
        OutskirtsError, match="tail of the detector 'openmax' must be a whole number of at least 2, not 1"
    ):
        OpenMax(tail=1)
