"""A benchmark of the bugs whose runs take a second each."""

from pathlib import Path

import pytest
import yaml

SMALL = {"epochs": 2, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "flip,crop:1"}


@pytest.fixture(scope="session")
def bench(bugs, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("bench") / "bugs.yaml"
    content = {
        "description": "Bugs.",
        "train": str(bugs / "train"),
        "test": str(bugs / "test"),
        "ood": {"near": {"flies": str(bugs / "flies")}, "far": {"fog": str(bugs / "fog")}},
        "recipes": {"all": SMALL, "ascood": {"outliers": "shuffle", "p_inv": 0.2}},
        "variants": {"plain": {"augment": "none"}},
    }
    file.write_text(yaml.safe_dump(content))
    return file
