"""Every registered detector gives in a graph the scores that it gives in torch, or is known not to."""

import warnings

import pytest
import torch
from torch import nn

from outskirts.detectors import registry
from outskirts.detectors.base import create
from outskirts.extraction.outputs import Outputs
from outskirts.guard.export.exportable import exportable
from outskirts.testing.detector import _problem

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

#: What no graph of one pass holds: gradients, more passes, other networks.
NOT = ["adascale", "ensemble", "iodin", "odin", "rankfeat", "rotation"]

#: Other forms of some of them.
FORMS = (
    "adascale:variant=l", "ash:variant=p", "ash:variant=s", "combination:rule=fisher", "fdbd:centered=false",
    "gen:top=2", "joint_energy:aggregate=max", "mahalanobis:normalize=false", "neco:level=published", "nnguide:k=20",
    "per_class:detector=knn", "react:scorer=msp", "relation:power=2.0", "she:metric=cosine", "she:metric=euclidean",
    "vra:reference_quirks=true",
)  # fmt: skip
CAN = [one for one in (*registry.names(), *FORMS) if one.split(":")[0] not in NOT]


class Scores(nn.Module):
    """The scores of several detectors of the same outputs."""

    def __init__(self, problems):
        super().__init__()
        self.held = [(name, problem.fitted(), problem.both) for name, problem in problems.items()]
        for _, detector, both in self.held:
            detector.score(both)

    def forward(self, given):
        return tuple(
            detector.score(
                Outputs(given[name]["features"], given[name]["logits"], None, both.head, given[name]).with_fixed(both)
            )
            for name, detector, both in self.held
        )


@pytest.fixture(scope="module")
def scores():
    """Of each detector, the scores in torch and in ONNX Runtime, of more images than the graph was made with."""
    from outskirts.guard.export.translations import TRANSLATIONS

    problems = {name: _problem(lambda name=name: create(name)) for name in CAN}
    graph = Scores(problems).eval()
    columns = {
        name: {"features": problem.both.features, "logits": problem.both.logits, **problem.both.extra}
        for name, problem in problems.items()
    }
    few = {name: {key: rows[:5] for key, rows in of.items()} for name, of in columns.items()}
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            graph, (few,), dynamic_shapes=({n: {k: {0: batch} for k in of} for n, of in few.items()},), strict=False
        )
        made = torch.onnx.export(program, dynamo=True, custom_translation_table=TRANSLATIONS, verbose=False)
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    flat = [rows for of in columns.values() for rows in of.values()]
    given = {one.name: rows.numpy() for one, rows in zip(session.get_inputs(), flat, strict=True)}
    found = dict(zip(problems, session.run(None, given), strict=True))
    return {
        name: (detector.score(both).double(), torch.from_numpy(found[name]).double())
        for name, detector, both in graph.held
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CAN)
def test_a_graph_gives_the_scores(scores, name):
    known, given = scores[name]
    apart = ((given - known).abs() / known.abs().clamp_min(1)).amax().item()
    print(f"{name}: {apart:.1e}")
    assert apart < 1e-5


def test_the_others_are_known():
    assert exportable() == [name for name in registry.names() if name not in NOT]
