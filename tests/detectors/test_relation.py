import pytest
import torch

from outskirts import OutskirtsError
from outskirts.detectors import Relation, relation
from outskirts.extraction import blocks


@pytest.mark.parametrize("power", [1, 2])
def test_vectors(toy, train, queries, power, monkeypatch):
    monkeypatch.setattr(relation, "BUDGET", 1)
    found = Relation(power=power).fit(train).score(queries)
    torch.testing.assert_close(found.double(), -toy[f"relation_pow{power}"], rtol=1e-5, atol=0)


def test_bad_input_is_an_error():
    assert blocks.BUDGET > 1
    with pytest.raises(OutskirtsError, match="power of the detector 'relation' must be a number above 0, not 0"):
        Relation(power=0)
