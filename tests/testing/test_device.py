"""What is asked of devices holds for the host itself, and is refused where it does not hold."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch

import outskirts as osk
from outskirts.data.transform import Transform
from outskirts.files import load_tensors, save_tensors
from outskirts.methods import registry
from outskirts.testing import device as checks
from outskirts.testing.device import (
    SMALL_QUEUES,
    check_agreement,
    check_batches,
    check_diffusion,
    check_loop,
    check_resume,
    check_waits,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", registry.names())
def test_the_host_agrees_with_itself(name):
    assert set(check_agreement(name, CPU).values()) == {0.0}


@pytest.mark.parametrize("name", registry.names())
def test_bf16_is_near_fp32(name):
    differences = check_agreement(name, CPU, "bf16")
    assert 0 < differences["gradient"] < 0.7
    assert differences.get("pixels", 0) < 0.1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"loss": 2.0}, "difference of the loss of 1,"),
        ({"gradient": torch.tensor([1.0, 1.0])}, "gradient"),
        ({"outliers": torch.ones(2, 3, 2, 2)}, "difference of the pixels of 1,"),
        ({"outliers": torch.full((2, 3, 2, 2), torch.nan)}, "difference of the pixels of 1,"),
        ({"outliers": torch.zeros(1, 3, 2, 2)}, "difference of the pixels of inf,"),
        ({"outliers": torch.zeros(0)}, "difference of the pixels of inf,"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_another_step_is_refused(wrong, sentence, precision, monkeypatch):
    right = checks._Step(1.0, torch.tensor([1.0, 0.0]), torch.zeros(2, 3, 2, 2))
    steps = iter([right, right._replace(**wrong)])
    monkeypatch.setattr(checks, "_stepped", lambda *given: next(steps))
    with pytest.raises(AssertionError, match=sentence):
        check_agreement("ce", CPU, precision)


def test_rows_of_features_may_change_places(monkeypatch):
    rows = torch.arange(12.0).view(4, 3)
    right = checks._Step(1.0, torch.ones(1), rows)
    steps = iter([right, right._replace(outliers=rows.flip(0))])
    monkeypatch.setattr(checks, "_stepped", lambda *given: next(steps))
    assert check_agreement("ce", CPU)["features"] == 0


def test_rows_of_features_that_are_fewer_or_no_numbers_are_refused(monkeypatch):
    rows = torch.arange(12.0).view(4, 3)
    right = checks._Step(1.0, torch.ones(1), rows)
    for precision, wrong, found in (
        ("fp32", rows * torch.nan, "1"),
        ("fp32", rows[:3], "inf"),
        ("bf16", rows[:3], "inf"),
    ):
        steps = iter([right, right._replace(outliers=wrong)])
        monkeypatch.setattr(checks, "_stepped", lambda *given, steps=steps: next(steps))
        with pytest.raises(AssertionError, match=f"difference of the features of {found},"):
            check_agreement("ce", CPU, precision)


def test_a_training_resumes_bit_equal(bugs, small, tmp_path):
    check_resume("ce", osk.open(bugs / "train"), tmp_path, **small)


def test_a_training_that_resumes_otherwise_is_refused(bugs, small, tmp_path, monkeypatch):
    right = checks.resume

    def careless(path):
        run = right(path)
        tensors, about = load_tensors(run.model)
        name = next(name for name, value in tensors.items() if value.is_floating_point())
        save_tensors(run.model, {**tensors, name: tensors[name] + 1e-6}, about)
        return run

    monkeypatch.setattr(checks, "resume", careless)
    with pytest.raises(AssertionError, match="ends with other numbers in"):
        check_resume("ce", osk.open(bugs / "train"), tmp_path, **small)


def test_a_diffusion_model_agrees_with_itself(bugs):
    diffusion = pytest.importorskip("outskirts.models.diffusion")
    images = osk.open(bugs / "train").limit(12)
    model = diffusion.DiffusionModel("tiny", images.classes, 3, 16)
    pixels, labels = images.resident(Transform(16))
    model.fit_codec(pixels.float() / 127.5 - 1, labels)
    assert set(check_diffusion(model, CPU, images).values()) == {0.0}


def test_batches_lie_where_they_are_asked_to(monkeypatch):
    check_batches(CPU)
    with pytest.raises(AssertionError, match="a batch lies on cpu instead of meta"):
        monkeypatch.setattr(checks, "training_batches", partial(on_the_host, checks.training_batches))
        check_batches(torch.device("meta"))


def on_the_host(right, *given, **options):
    return right(*given, **{**options, "device": CPU})


def test_small_queues_are_of_methods_that_are_there():
    assert SMALL_QUEUES.keys() <= set(registry.names())


def test_waits_are_looked_for_on_cuda_alone():
    check_waits("npos", CPU)


def test_a_loop_is_watched_between_two_records(draw, small, tmp_path, monkeypatch):
    watched = []

    @contextmanager
    def recording(device, watching=True):
        yield watched.append

    monkeypatch.setattr(checks, "refused_waits", recording)
    options = {name: value for name, value in small.items() if name not in ("epochs", "device")}
    images = osk.open(draw(tmp_path / "many", count=60))
    check_loop("ce", images, tmp_path / "run", CPU, **{**options, "batch_size": 3})
    # Of 38 steps, every third writes a line, and the last.
    assert [step for step, on in enumerate(watched, start=1) if on] == [s for s in range(3, 37) if (s + 1) % 3]
