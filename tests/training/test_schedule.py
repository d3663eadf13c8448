import json
from pathlib import Path

import pytest

from outskirts.training.schedule import cosine_factor

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ascood_sio_detectors.json").read_text())


def test_vectors():
    v = VECTORS["V8_lr"]
    for case in v["cases"]:
        factor = cosine_factor(case["t"], v["T"], floor=1e-6 / v["base"])
        assert v["base"] * factor == pytest.approx(case["lr"], rel=1e-9, abs=1e-15)
        assert v["base"] * 0.05 * factor == pytest.approx(case["fc_lr_05"], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.15), (7, 0.5), (10, 0.99), (1, 0.9), (3, 0.0)])
def test_rises_to_one_and_falls_to_the_floor(steps, warmup):
    factors = [cosine_factor(step, steps, warmup, floor=0.01) for step in range(steps + 1)]
    rise = int(warmup * steps)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:rise] == sorted(factors[:rise]) and factors[rise:] == sorted(factors[rise:], reverse=True)
    assert factors[rise] == 1 and factors[-1] == pytest.approx(0.01)
    if rise:
        assert factors[0] == pytest.approx(1 / rise) and factors[rise - 1] == 1
