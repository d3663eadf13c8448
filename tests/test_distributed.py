"""Two processes on the processor compute what one does."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from outskirts.data.loading.batches import Batch
from outskirts.distributed import anywhere, average, gather, processes, quadratic_mean
from outskirts.files import load_tensors
from outskirts.methods import registry
from outskirts.models.normalization import unrecorded_statistics
from outskirts.testing.method import Training
from outskirts.training.synchronised import synchronised

#: What each process runs: CIDER and SupCon on its half of the batch, under data parallelism, and batch normalisation.
WORKER = """
import sys, warnings
from pathlib import Path
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from test_distributed import METHODS, half, made, normalized, results
from outskirts.distributed import anywhere, average, gather, processes, quadratic_mean
from outskirts.files import save_tensors

rank, folder = int(sys.argv[1]), sys.argv[2]
warnings.simplefilter("error")
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
found = {"labels": gather(torch.tensor([rank, 7])), "rows": gather(torch.full((2, 3), float(rank)))}
for name in METHODS:
    method = made(name)
    found |= results(name, DistributedDataParallel(method), method, half(name, rank))
ours = torch.tensor([1.0, 7.0])[rank]
found |= {"average": average(ours), "quadratic": quadratic_mean(ours)}
assert processes() == 2 and anywhere(rank == 1, ours.device) and not anywhere(False, ours.device)
found |= normalized(slice(rank, None, 2))
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
    """Twelve of the batch's images of three classes: every other one."""
    batch = Training(registry[METHODS[name][0]], made(name).config).batch()
    rows = slice(rank, None, 2)
    return Batch(tuple(view[rows] for view in batch.views), batch.labels[rows], 1, 1, batch.generator)


def results(name, model, method, batch):
    """Loss, prototypes and gradients of a step."""
    scalars = model(batch)
    scalars["loss"].backward()
    gradients = {f"{name}/{key}": p.grad for key, p in method.named_parameters() if p.grad is not None}
    return {f"{name}/loss": scalars["loss"].detach(), f"{name}/prototypes": method.sphere.prototypes, **gradients}


NORMS = {"affine": {}, "plain": {"affine": False}, "double": {"dtype": torch.float64}}


def normalized(rows):
    """Of these rows of a batch what batch normalisation makes, its gradients, and the running statistics after it."""
    found = {}
    for name, options in NORMS.items():
        draws = torch.Generator().manual_seed(4)
        images, slope = (torch.randn(8, 3, 5, 5, generator=draws).to(options.get("dtype")) for _ in range(2))
        layer, images = nn.BatchNorm2d(3, momentum=0.3, **options), (2 * images + 5)[rows].requires_grad_()
        with synchronised():
            values = layer.train()(images)
            (values * slope[rows]).sum().backward()
            with unrecorded_statistics(layer):
                unrecorded = layer(images.detach())
            evaluated = layer.eval()(images.detach())
        gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
        state = {"mean": layer.running_mean, "var": layer.running_var}
        rest = {"values": values.detach(), "unrecorded": unrecorded.detach(), "evaluated": evaluated.detach()}
        found |= {
            f"{name}/{key}": value for key, value in {**rest, **state, **gradients, "images": images.grad}.items()
        }
    return found


def test_alone_everything_is_ones_own():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather(rows) is rows and average(rows) is rows and quadratic_mean(rows) is rows
    assert processes() == 1 and anywhere(True, rows.device) and not anywhere(False, rows.device)


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
        assert found["labels"].tolist() == [0, 1, 7, 7]
        assert found["rows"].tolist() == [[0.0] * 3, [1.0] * 3] * 2
        assert (found["average"], found["quadratic"]) == (4, 5)
    for name in METHODS:
        method = made(name)
        whole = Training(registry[METHODS[name][0]], method.config).batch()
        expected = results(name, method, method, whole)
        loss = expected.pop(f"{name}/loss")
        torch.testing.assert_close((one[f"{name}/loss"] + two[f"{name}/loss"]) / 2, loss)
        assert len(expected) > 5
        for key, value in expected.items():
            assert torch.equal(one[key], two[key]), key
            torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-5, msg=key)
    for key, value in normalized(slice(None)).items():
        if key.endswith(("values", "unrecorded", "evaluated", "images")):
            found = torch.stack([one[key], two[key]], 1).flatten(0, 1)
        elif key.endswith(("weight", "bias")):
            found = one[key] + two[key]
        else:
            found = one[key]
            assert torch.equal(found, two[key]), key
        assert found.dtype == value.dtype, key
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5, msg=key)
