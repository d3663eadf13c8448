"""Work in threads: in order, bounded, and over when whoever asked for it is."""

import threading
import time
from contextlib import closing

import pytest
import torch

from outskirts.data.decode import CorruptImage
from outskirts.data.threads import attempt_all, in_order


def test_results_come_in_the_order_of_the_jobs():
    def slow(job):
        time.sleep(0.02 if job == 0 else 0)
        return job**2

    for most in (0, 1, 3, 100):
        assert list(in_order(slow, range(20), threads=4, most=most)) == [job**2 for job in range(20)]
    assert list(in_order(slow, [])) == []


@pytest.mark.parametrize("most", [1, 4])
def test_no_more_are_begun_than_allowed(most):
    begun, read = [], 0
    with closing(in_order(begun.append, range(30), threads=2, most=most)) as results:
        for _ in results:
            time.sleep(0.002)
            read += 1
            # The one that was just read is no longer ahead.
            assert len(begun) <= read - 1 + most
    assert sorted(begun) == list(range(30))


def test_an_error_is_raised_when_its_turn_comes():
    def work(job):
        if job in (3, 5):
            time.sleep(0.02 if job == 3 else 0)
            raise ValueError(f"job {job}")
        return job

    read = []
    with pytest.raises(ValueError, match="job 3"):
        read.extend(in_order(work, range(50), threads=4))
    read.clear()
    with pytest.raises(ValueError, match="job 3"):
        for result in in_order(work, range(50), threads=4):
            read.append(result)
    assert read == [0, 1, 2]


def test_its_threads_end_with_whoever_reads_it():
    before, begun = set(threading.enumerate()), []

    def work(job):
        begun.append(job)
        time.sleep(0.005)

    with pytest.raises(KeyboardInterrupt), closing(in_order(work, range(1000), threads=2)) as results:
        next(results)
        assert set(threading.enumerate()) > before
        raise KeyboardInterrupt
    assert set(threading.enumerate()) == before
    done = len(begun)
    time.sleep(0.03)
    assert len(begun) == done < 1000


def test_corrupt_positions_are_marked_or_the_first_is_named():
    def work(i):
        if i in (70, 130):
            raise CorruptImage(f"{i} cannot be decoded.")

    sound = attempt_all(work, 200, skip_corrupt=True)
    assert sound.dtype == torch.bool and (~sound).nonzero().flatten().tolist() == [70, 130]
    with pytest.raises(
        CorruptImage, match=r"^70 cannot be decoded\. Mend or remove it, or leave out such images with skip_corrupt"
    ):
        attempt_all(work, 200, skip_corrupt=False, threads=4)
    assert attempt_all(work, 0, skip_corrupt=False).shape == (0,)
