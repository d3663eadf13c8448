"""The toy data of the specification's vectors V14: six training images of three classes, and three queries."""

import pytest
import torch

from outskirts.extraction.outputs import Outputs


@pytest.fixture(scope="session")
def toy(vectors) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value, dtype=torch.float64) for key, value in vectors["V14_postprocessors"].items()}


@pytest.fixture(scope="session")
def train(toy) -> Outputs:
    logits = toy["F"] @ toy["W"].T + toy["b"]
    return Outputs(toy["F"], logits, toy["Y"].long(), (toy["W"], toy["b"]))


@pytest.fixture(scope="session")
def queries(toy) -> Outputs:
    return Outputs(toy["Q"], toy["logits"], None, (toy["W"], toy["b"]))
