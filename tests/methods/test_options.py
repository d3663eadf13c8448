from dataclasses import dataclass, replace

import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.methods.options import BoundaryOptions, GaussianOptions, QueueOptions, scalars
from outskirts.synthesis import Outliers


@pytest.mark.parametrize(
    ("start", "epochs", "first"), [(0.0, 4, 1), (0.4, 100, 41), (0.4, 5, 3), (0.5, 3, 3), (0.99, 10, None)]
)
def test_outliers_start_after_their_share_of_the_training(batch, start, epochs, first):
    started = [QueueOptions(start=start).started(replace(batch, epoch=e, epochs=epochs)) for e in range(1, epochs + 1)]
    assert started == [first is not None and epoch >= first for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("start", [-0.1, 1.1, float("nan")])
def test_start_is_a_share(start):
    with pytest.raises(OutskirtsError, match="start must be a number from 0 to 1"):
        QueueOptions(start=start)


def test_options_reach_the_synthesisers():
    sizes = {"queue": 9, "k": 4, "boundary": 5, "picks": 3, "candidates": 7, "keep": 6}
    options = BoundaryOptions(**sizes, sigma=0.5, space="raw", selection="random", synthesis_budget=999)
    made = options.boundary_synthesizer()
    assert (made.k, made.boundary, made.picks, made.candidates) == (4, 5, 3, 7)
    assert (made.keep, made.sigma, made.space) == (6, 0.5, "raw")
    assert (made.selection, made.reference_quirks, made.budget) == ("random", False, 999)
    assert options.boundary_synthesizer(reference_quirks=True).reference_quirks
    gaussian = GaussianOptions(draws=11, keep=2, refresh=3).gaussian_synthesizer(2, 5)
    assert (gaussian.draws, gaussian.keep, gaussian.refresh) == (11, 2, 3)
    assert gaussian.means.shape == (2, 5)


@pytest.mark.parametrize("options", [{"k": 20, "boundary": 4}, {"k": 4, "boundary": 21}])
def test_a_queue_that_can_never_be_ready_is_refused(options):
    with pytest.raises(OutskirtsError, match="A queue of 20 features never holds the 21 that k = "):
        BoundaryOptions(queue=20, **options).boundary_synthesizer()
    BoundaryOptions(queue=21, **options).boundary_synthesizer()


def test_options_compose():
    @dataclass(frozen=True)
    class Both(BoundaryOptions, GaussianOptions):
        pass

    assert (Both().k, Both().draws, Both().queue) == (300, 10_000, 1000)
    with pytest.raises(OutskirtsError, match="start"):
        Both(start=2)


def test_scalars_are_the_diagnostics_of_one_number():
    info = {"ready": torch.tensor(0.5), "distance": torch.ones(3)}
    assert scalars(Outliers(torch.ones(3, 2), torch.zeros(3), info)) == {"ready": torch.tensor(0.5)}
