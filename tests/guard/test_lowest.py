"""The rows with the lowest p-values, against a sort of all of them."""

import numpy as np
import pytest

from outskirts.guard.lowest import Lowest


@pytest.mark.parametrize("n", [1, 7, 500])
def test_they_are_those_of_a_sort(n):
    random = np.random.default_rng(n)
    rows = [
        {"file": str(i), "p_value": p, "accepted": p > 0.1, "score": score}
        for i, (p, score) in enumerate(zip(random.integers(1, 30, 2000) / 30, random.random(2000).round(1)))
    ]
    few = Lowest(n)
    for place, row in enumerate(rows):
        few.take(place, row)
    order = sorted(range(2000), key=lambda i: (rows[i]["accepted"], rows[i]["p_value"], -rows[i]["score"], i))
    assert [place for place, _ in few.rows()] == order[:n]
    assert (few.images, few.rejected) == (2000, sum(not row["accepted"] for row in rows))
    assert len(few._kept) <= 2 * n + 100


def test_rejected_images_come_first_whatever_their_p_value():
    few = Lowest(2)
    few.take(0, {"file": "a", "p_value": 0.02, "accepted": True, "score": 1.0})
    few.take(1, {"file": "b", "p_value": 0.05, "accepted": False, "score": None})
    few.take(2, {"file": "c", "error": "cannot be decoded"})
    assert [place for place, _ in few.rows()] == [1, 0] and few.unread == 1
