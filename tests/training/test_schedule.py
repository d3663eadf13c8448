from itertools import pairwise

import pytest

from outskirts.training.schedule import cosine_factor, epoch_cosine


def test_vectors(vectors):
    v = vectors["V8_lr"]
    for case in v["cases"]:
        factor = cosine_factor(case["t"], v["T"], floor=1e-6 / v["base"])
        assert v["base"] * factor == pytest.approx(case["lr"], rel=1e-9, abs=1e-15)
        assert v["base"] * 0.05 * factor == pytest.approx(case["fc_lr_05"], rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 0.15), (7, 0.5), (10, 0.99), (1, 0.9), (3, 0.0)])
def test_rises_to_one_and_falls_to_the_floor(steps, warmup):
    factors = [cosine_factor(step, steps, warmup, floor=0.01) for step in range(steps + 1)]
    rise = int(warmup * steps)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:rise] == sorted(factors[:rise]) and factors[rise:] == sorted(factors[rise:], reverse=True)
    assert factors[rise] == 1 and factors[-1] == pytest.approx(0.01)
    if rise:
        assert factors[0] == pytest.approx(1 / rise) and factors[rise - 1] == 1


# A cosine that falls once an epoch: vectors T12 of CIDER's specification

STEPS, EPOCHS = 98, 500


def published(epoch, step, quirks):
    return epoch_cosine(epoch * STEPS + step, STEPS, EPOCHS, 0.5, warmup=10, reference_quirks=quirks)


@pytest.mark.parametrize(
    ("epoch", "step", "lr"),
    [
        (0, 0, 0.001),
        (0, 97, 0.0503420368),
        (1, 0, 0.0508507175),
        (9, 97, 0.4989984946),
        (10, 0, 0.4995071754),
        (10, 97, 0.4995071754),
        (100, 0, 0.4523019943),
        (250, 0, 0.25025),
        (499, 0, 0.0005049299),
    ],
)
def test_t12_as_it_should_be(epoch, step, lr):
    assert published(epoch, step, quirks=False) == pytest.approx(lr, rel=0, abs=6e-11)


@pytest.mark.parametrize(
    ("epoch", "step", "lr", "digits"),
    [
        (0, 0, -0.0488507175, 6e-11),
        (0, 96, -1.7362e-5, 6e-10),
        (0, 97, 0.0004913192, 6e-11),
        (1, 0, 0.001, 1e-15),
        (10, 97, 0.4990, 6e-5),
        (11, 0, 0.4994, 6e-5),
        (250, 0, 0.25025, 1e-12),
    ],
)
def test_t12_as_published(epoch, step, lr, digits):
    assert published(epoch, step, quirks=True) == pytest.approx(lr, rel=0, abs=digits)


def test_t12_the_published_schedule_climbs_the_loss_in_all_but_one_step_of_the_first_epoch():
    rates = [published(0, step, quirks=True) for step in range(20 * STEPS)]
    assert [rate < 0 for rate in rates] == [True] * 97 + [False] * (20 * STEPS - 97)


@pytest.mark.parametrize("lr", [0.5, 0.005, 1e-4])
@pytest.mark.parametrize(
    ("steps", "epochs", "warmup"), [(98, 500, 10), (98, 20, 10), (7, 10, 9), (1, 3, 1), (4, 5, 0), (3, 1, 0)]
)
def test_epochs_rise_without_a_jump_and_fall_to_a_thousandth(steps, epochs, warmup, lr):
    rates = [epoch_cosine(step, steps, epochs, lr, warmup) for step in range(steps * epochs)]
    top = steps * warmup
    assert all(0 < rate <= lr for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    # No step of the rise is larger than any other, the one into the cosine included.
    rises = [after - before for before, after in pairwise(rates[: top + 1])]
    assert all(rise == pytest.approx(rises[0], rel=1e-6, abs=1e-12) for rise in rises)
    for epoch in range(warmup, epochs):
        assert len(set(rates[epoch * steps : (epoch + 1) * steps])) == 1
    if not warmup:
        assert rates[0] == lr
    assert epoch_cosine(steps * epochs, steps, epochs, lr, warmup) == pytest.approx(lr / 1000)


def test_the_rise_of_the_usual_schedule_is_without_a_jump():
    rates = [cosine_factor(step, 1000, 0.15) for step in range(1001)]
    assert max(abs(after - before) for before, after in pairwise(rates)) < 0.01
    assert min(rates) >= 0
