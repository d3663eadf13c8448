import pytest

import outskirts as osk
from outskirts import detectors, methods
from outskirts.listing import available


def test_every_part_is_named_and_described():
    found = available()
    assert list(found) == ["methods", "presets", "detectors", "backbones", "generators", "benchmarks"]
    assert [row[0] for row in found["methods"]] == list(methods.registry.names())
    assert [row[0] for row in found["detectors"]] == list(detectors.registry.names())
    assert [row[0] for row in found["benchmarks"]] == osk.benchmarks()
    assert all(row[1].endswith(".") for row in (*found["methods"], *found["detectors"], *found["generators"]))


def test_one_kind(outskirts):
    assert available("generators") == {"generators": available()["generators"]}
    shown = outskirts("list", "generators").out
    assert all(name in shown for name, _ in available("generators")["generators"])
    with pytest.raises(osk.OutskirtsError, match="did you mean 'detectors'"):
        available("detector")
