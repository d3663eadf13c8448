import pytest
import torch
from torch import nn

from outskirts.models.normalization import unrecorded_statistics


@pytest.fixture
def norm():
    norm = nn.BatchNorm1d(2)
    norm(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    return norm


@pytest.fixture
def rows():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(1)) * 3 + 1


def state(norm):
    return {name: value.clone() for name, value in norm.state_dict().items()}


def test_statistics_are_the_batchs_and_are_not_recorded(norm, rows):
    before, expected = state(norm), (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + norm.eps).sqrt()
    with unrecorded_statistics(norm):
        torch.testing.assert_close(norm(rows), expected)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    norm(rows)
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_layers_in_evaluation_mode_go_on_with_theirs(norm, rows):
    norm.eval()
    alone = norm(rows[:1])
    with unrecorded_statistics(norm):
        torch.testing.assert_close(norm(rows)[:1], alone)


def test_an_error_puts_the_statistics_back(norm):
    before = state(norm)
    with pytest.raises(ZeroDivisionError), unrecorded_statistics(norm):
        raise ZeroDivisionError
    assert norm.track_running_stats and state(norm).keys() == before.keys()
