"""``outskirts list``."""

import pytest

from outskirts import detectors, methods


def test_everything_is_named(outskirts):
    outcome = outskirts("list")
    assert outcome.code == 0
    for name in (*methods.registry.names(), *detectors.registry.names(), "cifar100", "resnet18-cifar", "mnist5k"):
        assert name in outcome.out


@pytest.mark.parametrize("kind", ["methods", "detectors", "presets", "backbones", "benchmarks"])
def test_one_kind(outskirts, kind):
    outcome = outskirts("list", kind)
    assert outcome.code == 0
    assert outcome.out.startswith(kind)
    assert ("ascood" in outcome.out) == (kind in ("methods", "presets"))
    assert ("relative_mahalanobis" in outcome.out) == (kind == "detectors")


def test_an_unknown_kind(outskirts, refused):
    assert outskirts("list", "detector").code == 2
    assert "There is no kind of part 'metods'; did you mean 'methods'? Known: all, " in refused("list", "metods")
