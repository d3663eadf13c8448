import pytest
import torch

from outskirts import Outputs, OutskirtsError
from outskirts.detectors import Gram
from outskirts.detectors.gram import deviations, gram_sums


def test_vectors(vectors):
    known = {key: torch.tensor(value, dtype=torch.float64) for key, value in vectors["V18_gram"].items()}
    sums = gram_sums(known["map"][None, :, None], 3)
    torch.testing.assert_close(sums[0], torch.stack([known["g1"], known["g2"], known["g3"]]))
    found = deviations(sums[:, :1], known["mins"][None, None], known["maxs"][None, None])
    torch.testing.assert_close(found[0], known["deviation_of_g1"])


def test_the_bounds_are_those_of_images_predicted_alike():
    g = torch.Generator().manual_seed(0)
    predicted = torch.arange(40) % 2
    sums = torch.rand(40, 1, 3, generator=g) + 5.0 * predicted[:, None, None]
    logits = torch.eye(3)[predicted]
    detector = Gram(stages=1, orders=1).fit(Outputs(logits, logits, None, None, {"gram-1-1": sums}))
    assert detector.most0[0].max() < 1 and detector.least0[1].min() > 5
    # The third class is never predicted, and has the range of all.
    assert detector.least0[2].min() < 1 and detector.most0[2].max() > 5
    inside = torch.full((2, 1, 3), 0.5)
    query = Outputs(logits[:2], logits[:2], None, None, {"gram-1-1": inside})
    of_first, of_second = detector.score(query)
    assert of_first == 0 and of_second > 10


def test_bad_input_is_an_error():
    one = Outputs(torch.zeros(1, 2), torch.zeros(1, 2), None, None, {"gram-1-1": torch.zeros(1, 1, 2)})
    with pytest.raises(OutskirtsError, match="two training images or more, not 1"):
        Gram(stages=1, orders=1).fit(one)
    with pytest.raises(
        OutskirtsError, match="orders of the detector 'gram' must be a whole number of at least 1, not 0"
    ):
        Gram(orders=0)
