from dataclasses import dataclass, replace

import pytest
import torch

from outskirts.methods import registry
from outskirts.methods.options import BoundaryOptions, GaussianOptions
from outskirts.methods.queued import Queued, queued_outliers
from outskirts.synthesis.queue import ClassQueue

SMALL = {"queue": 20, "k": 1, "boundary": 4, "picks": 2, "candidates": 4, "keep": 1, "start": 0.5}


@dataclass(frozen=True)
class Options(BoundaryOptions):
    on: bool = True


class Remembers(Queued[Options]):
    Config = Options

    def __init__(self, config, classifier):
        super().__init__(config, classifier)
        self.synthesizer = config.boundary_synthesizer()

    @property
    def needs_queue(self):
        return self.config.on

    def step(self, batch):
        self.remember(self.classifier.features(batch.images), batch)
        return {"loss": self.synthesized(batch).values.sum()}


@pytest.fixture
def queue(batch):
    queue = ClassQueue(2, 20, 8)
    queue.push(torch.rand(40, 8, generator=batch.generator) * torch.arange(1, 41)[:, None], torch.arange(40) % 2)
    return queue


@pytest.mark.parametrize("space", ["sphere", "raw"])
def test_outliers_are_as_long_as_what_they_are_made_of(batch, queue, space):
    options = BoundaryOptions(queue=20, k=1, boundary=20, picks=20, candidates=4, sigma=0.01, space=space, start=0.0)
    outliers = queued_outliers(options, options.boundary_synthesizer(), queue, batch)
    sources = queue.values[outliers.labels, outliers.info["boundary"]]
    assert outliers.values.shape == (80, 8)
    assert torch.cosine_similarity(outliers.values, sources).amin() > 0.99
    if space == "sphere":
        torch.testing.assert_close(outliers.values.norm(dim=1), sources.norm(dim=1))
    late = replace(options, start=0.9)
    assert len(queued_outliers(late, late.boundary_synthesizer(), queue, batch)) == 0


def test_outliers_of_gaussians_are_as_they_are(batch, queue):
    options = GaussianOptions(draws=50, keep=3, start=0.0)
    synthesizer = options.gaussian_synthesizer(2, 8)
    state = batch.generator.get_state()
    outliers = queued_outliers(options, synthesizer, queue, batch)
    again = options.gaussian_synthesizer(2, 8)(queue.values, queue.filled, batch.generator.set_state(state))
    assert len(outliers) == 6 and torch.equal(outliers.values, again.values)


def test_a_step_remembers_from_the_first_on_and_makes_outliers_from_the_start_on(make, batch):
    method = make(Remembers, Options(**SMALL))
    assert method.queue_size == 20 and method.outliers(batch) is None
    for epoch in (1, 2):
        assert method.step(replace(batch, epoch=epoch))["loss"] == 0
    assert method.queue.filled.tolist() == [4, 4, 4] and not method.queue.values.requires_grad
    later = replace(batch, epoch=3)
    assert method.step(later)["loss"] != 0 and len(method.outliers(later)) == 6


def test_the_queue_is_filled_from_a_trained_run(make, batch):
    method = make(Remembers, Options(**SMALL))
    method.fill_queue(torch.rand(30, 8, generator=batch.generator), torch.arange(30) % 3)
    assert method.queue.filled.tolist() == [10, 10, 10] and len(method.outliers(replace(batch, epoch=3))) == 6


def test_a_method_can_do_without_a_queue(make):
    method = make(Remembers, Options(**SMALL, on=False))
    method.fill_queue(torch.ones(2, 8), torch.tensor([0, 1]))
    assert (method.queue, method.queue_size) == (None, 0)
    assert not any("queue" in name for name in method.state_dict())


@pytest.mark.parametrize("name", ["npos", "npos-clip", "vos", "oe"])
def test_who_remembers(name):
    assert issubclass(registry[name], Queued)


GAUSSIANS = ("calls", "factor", "means", "ready")


@pytest.mark.parametrize(
    ("name", "options", "names"),
    [
        ("npos", {}, {"collapsed", "epoch"}),
        ("vos", {}, {f"synthesizer.{name}" for name in GAUSSIANS}),
        ("oe", {"outliers": "boundary", "k": 1, "boundary": 2}, set()),
        ("oe", {"outliers": "gaussian"}, {f"from_features.{name}" for name in GAUSSIANS}),
    ],
)
def test_checkpoints_of_earlier_versions_have_these_names(make, name, options, names):
    kind = registry[name]
    found = {key for key in make(kind, kind.Config(**options)).state_dict() if not key.startswith("classifier.")}
    assert found == {"queue.values", "queue.written", *names}
