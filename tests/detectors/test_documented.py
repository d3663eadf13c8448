from pathlib import Path

import pytest

from outskirts.detectors import registry

PAGE = Path(__file__).parents[2] / "docs" / "detectors.md"


@pytest.mark.parametrize("name", registry.names())
def test_every_detector_is_on_the_page(name):
    assert f"`{name}`" in PAGE.read_text()


def test_the_readme_counts_them():
    assert f"{len(registry.names())} from one pass" in (PAGE.parents[1] / "README.md").read_text()
