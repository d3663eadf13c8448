"""The toy data of the specification's vectors V14: six training images of three classes, and three queries."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from outskirts.evaluation.outputs import Outputs

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ascood_sio_detectors.json").read_text())


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return VECTORS


@pytest.fixture(scope="session")
def toy() -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value, dtype=torch.float64) for key, value in VECTORS["V14_postprocessors"].items()}


@pytest.fixture(scope="session")
def train(toy) -> Outputs:
    logits = toy["F"] @ toy["W"].T + toy["b"]
    return Outputs(toy["F"], logits, toy["Y"].long(), (toy["W"], toy["b"]))


@pytest.fixture(scope="session")
def queries(toy) -> Outputs:
    return Outputs(toy["Q"], toy["logits"], None, (toy["W"], toy["b"]))
