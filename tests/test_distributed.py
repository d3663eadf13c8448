"""Two processes on the processor compute what one does."""

import os
import subprocess
import sys

import pytest
import torch

from outskirts.data.batches import Batch
from outskirts.distributed import gather
from outskirts.files import load_tensors
from outskirts.methods import registry
from outskirts.testing.method import Training

#: What each process runs: CIDER and SupCon on its half of the batch, under data parallelism.
WORKER = """
import sys, warnings
from pathlib import Path
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from test_distributed import METHODS, half, made, results
from outskirts.distributed import gather
from outskirts.files import save_tensors

rank, folder = int(sys.argv[1]), sys.argv[2]
warnings.simplefilter("error")
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
found = {"labels": gather(torch.tensor([rank, 7])), "rows": gather(torch.full((2, 3), float(rank)))}
for name in METHODS:
    method = made(name)
    found |= results(name, DistributedDataParallel(method), method, half(name, rank))
save_tensors(Path(folder, f"{rank}.safetensors"), found)
dist.destroy_process_group()
"""
METHODS = {
    "ordered": ("cider", {"embedding": 4, "views": 1, "prototype_momentum": 0.7}),
    "mean": ("cider", {"embedding": 4, "prototypes": "mean", "prototype_momentum": 0.9}),
    "supcon": ("supcon", {"embedding": 4}),
}


def made(name):
    """A method whose normalisation is fixed, as its statistics would be those of each half."""
    kind, options = METHODS[name]
    method = Training(registry[kind], registry[kind].Config(**options)).method()
    method.classifier.backbone.eval()
    return method


def half(name, rank):
    """Twelve of the batch's images of three classes."""
    batch = Training(registry[METHODS[name][0]], made(name).config).batch()
    rows = slice(12 * rank, 12 * rank + 12)
    return Batch(tuple(view[rows] for view in batch.views), batch.labels[rows], 1, 1, batch.generator)


def results(name, model, method, batch):
    """Loss, prototypes and gradients of a step."""
    scalars = model(batch)
    scalars["loss"].backward()
    gradients = {f"{name}/{key}": p.grad for key, p in method.named_parameters() if p.grad is not None}
    return {f"{name}/loss": scalars["loss"].detach(), f"{name}/prototypes": method.sphere.prototypes, **gradients}


def test_alone_rows_are_their_own():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather(rows) is rows


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_are_one(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    workers = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    one, two = (load_tensors(tmp_path / f"{rank}.safetensors")[0] for rank in range(2))
    for found in (one, two):
        assert found["labels"].tolist() == [0, 7, 1, 7]
        assert found["rows"].tolist() == [[0.0] * 3] * 2 + [[1.0] * 3] * 2
    for name in METHODS:
        halves = [half(name, rank) for rank in range(2)]
        views = tuple(torch.cat(pair) for pair in zip(*(part.views for part in halves)))
        whole = Batch(views, torch.cat([part.labels for part in halves]), 1, 1, halves[0].generator)
        method = made(name)
        expected = results(name, method, method, whole)
        loss = expected.pop(f"{name}/loss")
        torch.testing.assert_close((one[f"{name}/loss"] + two[f"{name}/loss"]) / 2, loss)
        assert len(expected) > 5
        for key, value in expected.items():
            assert torch.equal(one[key], two[key]), key
            torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-5, msg=key)
