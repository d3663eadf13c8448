"""What must hold on a GPU, as `benchmarks/cuda.py` checks it; some of it is asked of the host, too."""

import pytest
import torch

import outskirts as osk
from outskirts.methods import registry
from outskirts.seeding import on_host
from outskirts.testing.device import (
    SMALL_QUEUES,
    check_agreement,
    check_batches,
    check_diffusion,
    check_loop,
    check_resume,
    check_waits,
)
from outskirts.testing.needs import needed, small_generator
from outskirts.testing.scores import check_scores, every_detector

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
on_cuda = pytest.mark.cuda
DEVICES = [pytest.param(CUDA, marks=on_cuda, id="cuda"), pytest.param(CPU, id="cpu")]
everywhere = pytest.mark.parametrize("device", DEVICES)
#: Methods that take more than images.
NEEDY = ("dream", "ncis", "npos-clip")
EXTRAS = {"dream": "diffusers", "npos-clip": "transformers"}


@on_cuda
@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_that_of_the_host(name, precision):
    check_agreement(name, CUDA, precision)


@on_cuda
@pytest.mark.parametrize("name", registry.names())
def test_the_host_never_waits_for_a_step(name):
    check_waits(name, CUDA)


def resumes(name, bugs, small, folder, device):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    images = osk.open(bugs / "train")
    options = needed(name, folder, images, f"folder:{bugs / 'fog'}", device)
    check_resume(name, images, folder / "runs", **{**small, "epochs": 1, "device": device.type, **options})


@everywhere
@pytest.mark.parametrize("name", NEEDY)
def test_a_training_that_takes_more_than_images_resumes_bit_equal(name, bugs, small, tmp_path, device):
    resumes(name, bugs, small, tmp_path, device)


@on_cuda
@pytest.mark.parametrize("name", [name for name in registry.names() if name not in NEEDY])
def test_a_training_resumes_bit_equal(name, bugs, small, tmp_path):
    resumes(name, bugs, small, tmp_path, CUDA)


# Of the host one is enough, as it waits for nothing.
@pytest.mark.parametrize(
    ("name", "device"),
    [*(pytest.param(name, CUDA, marks=on_cuda) for name in ("ce", "ascood", "cider", "npos", "vos")), ("vos", CPU)],
)
def test_a_training_waits_for_its_records_alone(name, draw, small, tmp_path, device):
    images = osk.open(draw(tmp_path / "many", count=130))
    options = {**small, "batch_size": 4, **SMALL_QUEUES.get(name, {})}
    options = {k: v for k, v in options.items() if k not in ("epochs", "device")}
    check_loop(name, images, tmp_path / "run", device, **options)


@everywhere
def test_scores_are_those_of_the_host(finished, draw, tmp_path, device):
    # So many that what half precision flips, which differs from processor to processor, is a small share.
    sets = osk.open(draw(tmp_path / "test", count=60, seed=1)), osk.open(draw(tmp_path / "fog", (), count=60, seed=2))
    check_scores(osk.load(finished), device, *sets, ("fp32", "bf16"), every_detector(finished))


@everywhere
@pytest.mark.parametrize(("method", "detectors"), [("npos", ["ood_head", "mcm"]), ("godin", ["godin"])])
def test_scores_of_a_methods_own_head_are_those_of_the_host(method, detectors, bugs, small, tmp_path, device):
    train = osk.open(bugs / "train")
    options = {**small, **SMALL_QUEUES.get(method, {}), "device": device.type}
    run = osk.train(method, train, out=tmp_path / "run", **options)
    classifier, others = osk.load(run.path), osk.open(bugs / "fog")
    found = check_scores(classifier, device, train, others, ("fp32", "bf16"), detectors)
    assert found["detectors"] == len(detectors) and found["left out"] == {}


@everywhere
def test_diffusion_trained_there_is_that_of_the_host(bugs, tmp_path, device):
    diffusion = pytest.importorskip("outskirts.models.diffusion")
    images = osk.open(bugs / "train").limit(12)
    model = diffusion.DiffusionModel.load(small_generator(tmp_path / "generator", images, device))
    check_diffusion(model, device, images)


@on_cuda
def test_images_lie_on_the_device_and_no_batch_is_waited_for():
    check_batches(CUDA)


@on_cuda
def test_a_generator_for_the_host_depends_on_the_devices_state_alone():
    one, two = (torch.Generator(CUDA).manual_seed(0) for _ in range(2))
    first, second = on_host(one), on_host(one)
    assert first.initial_seed() == on_host(two).initial_seed() != second.initial_seed()
