"""What must hold on a GPU; the same checks as `benchmarks/cuda.py` makes."""

import pytest
import torch

import outskirts as osk
from outskirts.data.transform import Transform
from outskirts.methods import registry
from outskirts.seeding import on_host
from outskirts.testing.device import (
    SMALL_QUEUES,
    check_agreement,
    check_batches,
    check_diffusion,
    check_loop,
    check_resume,
    check_scores,
    check_waits,
)

pytestmark = pytest.mark.cuda
CUDA = torch.device("cuda", 0)
#: Methods that need a folder of a model, or images of outliers, beside the training images.
_NEEDY = ("dream", "ncis", "npos-clip")


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_that_of_the_host(name, precision):
    check_agreement(name, CUDA, precision)


@pytest.mark.parametrize("name", registry.names())
def test_the_host_never_waits_for_a_step(name):
    check_waits(name, CUDA)


@pytest.mark.parametrize("name", [name for name in registry.names() if name not in _NEEDY])
def test_a_training_resumes_bit_equal(name, bugs, small, tmp_path):
    check_resume(name, osk.open(bugs / "train"), tmp_path, **{**small, "device": "cuda"})


@pytest.mark.parametrize("name", ["ce", "ascood", "cider", "npos"])
def test_a_training_waits_for_its_records_alone(name, draw, small, tmp_path):
    images = osk.open(draw(tmp_path / "many", count=130))
    options = {**small, "batch_size": 4, **SMALL_QUEUES.get(name, {})}
    check_loop(
        name, images, tmp_path / "run", CUDA, **{k: v for k, v in options.items() if k not in ("epochs", "device")}
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_are_those_of_the_host(precision, finished, bugs):
    check_scores(osk.load(finished), CUDA, osk.open(bugs / "test"), osk.open(bugs / "fog"), precision)


def test_diffusion_is_that_of_the_host(bugs):
    diffusion = pytest.importorskip("outskirts.models.diffusion")
    images = osk.open(bugs / "train").limit(12)
    model = diffusion.DiffusionModel("tiny", images.classes, 3, 16)
    pixels, labels = images.resident(Transform(16))
    model.fit_codec(pixels.float() / 127.5 - 1, labels)
    check_diffusion(model, CUDA, images)


def test_images_lie_on_the_device_and_no_batch_is_waited_for():
    check_batches(CUDA)


def test_a_generator_for_the_host_depends_on_the_devices_state_alone():
    one, two = (torch.Generator(CUDA).manual_seed(0) for _ in range(2))
    first, second = on_host(one), on_host(one)
    assert first.initial_seed() == on_host(two).initial_seed() != second.initial_seed()
