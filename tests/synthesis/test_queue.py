from collections import deque

import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.synthesis import ClassQueue


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def held(queue):
    """The valid rows of each class, as sets of lists of numbers."""
    return [sorted(rows[:count].tolist()) for rows, count in zip(queue.values, queue.filled.tolist())]


def oldest_first(queue):
    """The valid rows of each class by age, which the ring buffer does not show."""
    size = queue.values.shape[1]
    return [
        rows[:count].roll(-(written % size) if count == size else 0, 0).tolist()
        for rows, count, written in zip(queue.values, queue.filled.tolist(), queue.written.tolist())
    ]


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("seed", range(8))
def test_first_in_first_out_like_a_deque(size, seed):
    classes, dim, generator = 4, 2, seeded(seed)
    queue = ClassQueue(classes, size, dim)
    naive = [deque(maxlen=size) for _ in range(classes)]
    for count in torch.randint(0, 14, (12,), generator=generator).tolist():
        features = torch.randn(count, dim, generator=generator)
        # One class alone, or a few: often far more than the queue holds.
        labels = torch.randint(0, 1 + count % classes, (count,), generator=generator)
        queue.push(features, labels)
        for feature, label in zip(features.tolist(), labels.tolist()):
            naive[label].append(feature)
        assert oldest_first(queue) == [list(rows) for rows in naive]
        assert queue.filled.tolist() == [len(rows) for rows in naive]


def test_a_batch_keeps_its_order_within_the_class():
    queue = ClassQueue(2, 3, 1)
    queue.push(torch.tensor([[1.0], [10.0], [2.0], [3.0], [20.0], [4.0]]), torch.tensor([0, 1, 0, 0, 1, 0]))
    assert oldest_first(queue) == [[[2.0], [3.0], [4.0]], [[10.0], [20.0]]]


def test_of_more_than_it_holds_the_last_stay():
    queue = ClassQueue(1, 3, 1)
    queue.push(torch.arange(1.0, 3.0)[:, None], torch.zeros(2, dtype=torch.int64))
    queue.push(torch.arange(3.0, 103.0)[:, None], torch.zeros(100, dtype=torch.int64))
    assert held(queue) == [[[100.0], [101.0], [102.0]]]


def test_rows_not_yet_written_are_not_touched():
    queue = ClassQueue(3, 4, 2)
    queue.values.fill_(torch.nan)
    queue.push(torch.ones(5, 2), torch.tensor([0, 0, 2, 0, 0]))
    assert queue.filled.tolist() == [4, 0, 1]
    valid = torch.arange(4) < queue.filled[:, None]
    assert (queue.values[valid] == 1).all() and queue.values[~valid].isnan().all()


def test_neither_an_empty_batch_nor_gradients_stay():
    queue = ClassQueue(2, 3, 2)
    queue.push(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert queue.filled.tolist() == [0, 0]
    queue.push(torch.ones(1, 2, requires_grad=True) * 2, torch.tensor([1]))
    assert not queue.values.requires_grad and held(queue) == [[], [[2.0, 2.0]]]


def test_features_of_another_precision_are_taken():
    queue = ClassQueue(1, 2, 1)
    queue.push(torch.ones(1, 1, dtype=torch.bfloat16), torch.tensor([0]))
    assert queue.values.dtype == torch.float32 and held(queue) == [[[1.0]]]


@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_goes_on_where_it_was(seed):
    generator = seeded(seed)
    whole, first = ClassQueue(3, 4, 2), ClassQueue(3, 4, 2)
    batches = [(torch.randn(7, 2, generator=generator), torch.randint(3, (7,), generator=generator)) for _ in range(5)]
    for batch in batches[:3]:
        whole.push(*batch)
        first.push(*batch)
    second = ClassQueue(3, 4, 2)
    second.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    for batch in batches[3:]:
        whole.push(*batch)
        second.push(*batch)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in whole.state_dict().items())


def test_a_queue_for_nothing_is_told():
    with pytest.raises(OutskirtsError, match="at least 1 feature vector per class, not 0"):
        ClassQueue(2, 0, 3)
