import scipy.stats
import torch

from outskirts.detectors import Entropy


def test_is_scipys(queries):
    expected = scipy.stats.entropy(queries.logits.softmax(1), axis=1)
    torch.testing.assert_close(Entropy().score(queries), torch.tensor(expected))
