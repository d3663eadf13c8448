"""Losses and prototypes against the specification's vectors T1–T5, and against loops in double precision."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import normalize

from outskirts.methods.hypersphere import (
    angles,
    compactness,
    dispersion,
    mean_update,
    ordered_update,
    simplex,
    supervised_contrast,
)

#: The factor τ / 0.07 of the published code, which here belongs to the weights.
PUBLISHED = 0.1 / 0.07
#: Of numbers that the specification gives to ten decimals.
ROUNDING = 6e-11


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(found, expected, atol=ROUNDING):
    torch.testing.assert_close(found.detach(), tensor(expected), rtol=0, atol=atol)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def points(generator):
    """Draws unit vectors in double precision."""
    return lambda *shape: normalize(torch.randn(*shape, dtype=torch.float64, generator=generator), dim=-1)


# Published vectors (specification, part E)

PROTOTYPES = tensor([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8]])
SAMPLES = tensor([[0.8, 0.6, 0], [0, 1, 0], [0.6, 0, 0.8]])
LABELS = torch.arange(3)


def test_t1_compactness():
    rows = [compactness(SAMPLES[[i]], PROTOTYPES, LABELS[[i]], 0.1) for i in range(3)]
    close(torch.stack(rows), [0.1376838047, 0.0181945103, 0.5140095118])
    mean = compactness(SAMPLES, PROTOTYPES, LABELS, 0.1)
    close(mean, 0.2232959422)
    close(PUBLISHED * mean, 0.3189942032)


def test_t2_dispersion():
    close(dispersion(PROTOTYPES, 0.1), 3.5395523364)
    # Of two prototypes each row is their cosine over the temperature.
    close(dispersion(PROTOTYPES[:2], 0.1), 0.0)
    close(dispersion(PROTOTYPES[1:], 0.1), 6.0)


T3 = {
    0.95: {
        "prototypes": [[0.9995411791, 0.0302891266, 0], [0, 1, 0], [0.030526545, 0.5800043559, 0.8140412012]],
        "dispersion": 3.5395220601,
        "compactness": 0.2558237615,
        "loss": 4.0511695831,
        "norms": (0.433282, 2.299339),
    },
    0.5: {
        "prototypes": [[0.9486832981, 0.316227766, 0], [0, 1, 0], [0.3312945782, 0.3312945782, 0.8834522086]],
        "dispersion": 3.6295711810,
        "compactness": 0.0353242826,
        "loss": 3.7002197463,
        "norms": (4.633033, 0.253293),
    },
}


@pytest.mark.parametrize("momentum", T3)
def test_t3_one_step(momentum):
    expected, samples = T3[momentum], SAMPLES.clone().requires_grad_()
    moved = ordered_update(PROTOTYPES, samples, LABELS, momentum)
    close(moved, expected["prototypes"], atol=1e-10)
    disperse = dispersion(moved, 0.1)
    compact = PUBLISHED * compactness(samples, moved.detach(), LABELS, 0.1)
    close(disperse, expected["dispersion"])
    close(compact, expected["compactness"])
    close(2 * compact + disperse, expected["loss"])
    for loss, norm in zip((disperse, compact), expected["norms"]):
        (gradient,) = torch.autograd.grad(loss, samples, retain_graph=True)
        close(gradient.norm(), norm, atol=6e-7)


def test_t4_order_matters_one_by_one_but_not_to_the_mean():
    prototype, samples, labels = tensor([[0.6, 0.8]]), tensor([[0, 1], [1, 0]]), torch.zeros(2, dtype=torch.int64)
    close(ordered_update(prototype, samples, labels, 0.5), [[0.8112421852, 0.5847102847]])
    close(ordered_update(prototype, samples.flip(0), labels, 0.5), [[0.5257311121, 0.8506508084]])
    # A share of 0.5 that stays after two samples.
    for order in (samples, samples.flip(0)):
        close(mean_update(prototype, order, labels, math.sqrt(0.5)), [[0.6459422415, 0.7633862854]])


@pytest.mark.parametrize(("degrees", "expected"), [(0, 10), (60, 5), (90, 0), (120, -5), (180, -10)])
def test_t5_dispersion_of_two_prototypes(degrees, expected):
    angle = math.radians(degrees)
    close(dispersion(tensor([[1, 0], [math.cos(angle), math.sin(angle)]]), 0.1), float(expected), atol=1e-12)


@pytest.mark.parametrize(("classes", "expected"), [(2, -10), (10, -1.1111111111), (100, -0.1010101010)])
def test_t5_a_simplex_is_the_minimum(classes, expected, points):
    close(dispersion(simplex(points(classes, 128)), 0.1), float(expected))


@pytest.mark.parametrize(
    ("classes", "expected"), [(2, 0.9902102579), (8, 2.9706307738), (10, 3.2894072757), (100, 6.5788145514)]
)
def test_t5_collapse(classes, expected, points):
    prototypes = points(1, 16).expand(classes, -1)
    close(PUBLISHED * compactness(prototypes, prototypes, torch.arange(classes), 0.1), expected)
    close(dispersion(prototypes, 0.1), 10.0, atol=1e-12)


# Invariants


def loop(prototypes, projections, labels, momentum):
    """Equation 7, one sample after the other."""
    rows = list(prototypes.unbind())
    for point, label in zip(projections, labels.tolist()):
        mixed = momentum * rows[label] + (1 - momentum) * point
        rows[label] = mixed / mixed.square().sum().sqrt()
    return torch.stack(rows)


#: How labels are drawn: the number of classes, and those of them that occur.
PATTERNS = {
    "one class at all": (1, [0]),
    "two classes": (2, [0, 1]),
    "only the last of five": (5, [4]),
    "some of ten": (10, [1, 2, 7]),
    "a hundred, most of them empty": (100, [3, 50, 99]),
    "a hundred": (100, range(100)),
}


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_rounds_are_the_loop_in_values_and_gradients(pattern, momentum, points, generator):
    classes, present = PATTERNS[pattern]
    for size in (1, 7, 60):
        labels = torch.tensor(present)[torch.randint(len(present), (size,), generator=generator)]
        inputs = points(classes, 6).requires_grad_(), points(size, 6).requires_grad_()
        weights = points(classes, 6)
        results = []
        for update in (ordered_update, loop):
            moved = update(*inputs, labels, momentum)
            results.append((moved.detach(), *torch.autograd.grad((weights * moved).sum(), inputs)))
        for found, expected in zip(*results):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("update", [ordered_update, mean_update])
def test_gradients_are_the_differences(update, points):
    labels = torch.tensor([1, 1, 0, 1, 3, 3])
    inputs = points(4, 3).requires_grad_(), points(6, 3).requires_grad_()
    torch.autograd.gradcheck(lambda mu, z: update(mu, z, labels, 0.7), inputs)


@pytest.mark.parametrize("update", [ordered_update, mean_update])
@pytest.mark.parametrize("momentum", [0.5, 0.95, 0.99])
def test_prototypes_stay_on_the_sphere_and_absent_ones_where_they_are(update, momentum, points, generator):
    prototypes, present = points(20, 8).float(), torch.tensor([0, 3, 4, 19])
    absent = torch.ones(20, dtype=torch.bool).index_fill(0, present, False)
    for _ in range(30):
        labels = present[torch.randint(4, (16,), generator=generator)]
        moved = update(prototypes, points(16, 8).float(), labels, momentum)
        torch.testing.assert_close(moved.norm(dim=1), torch.ones(20), rtol=0, atol=1e-6)
        assert torch.equal(moved[absent], prototypes[absent])
        assert not (moved[labels] == prototypes[labels]).all(1).any()
        prototypes = moved


@pytest.mark.parametrize("update", [ordered_update, mean_update])
def test_no_samples_move_nothing(update, points):
    prototypes = points(3, 4)
    none = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(update(prototypes, points(0, 4), none, 0.5), prototypes)


@pytest.mark.parametrize("classes", [3, 20])
def test_the_dispersion_trains_the_samples_above_all_the_last_ones(classes, points, generator):
    labels = torch.randint(classes - 1, (8 * classes,), generator=generator)  # The last class is absent.
    samples = points(8 * classes, 16).requires_grad_()
    prototypes = points(classes, 16).requires_grad_()
    dispersion(ordered_update(prototypes, samples, labels, 0.5), 0.1).backward()
    norms = samples.grad.norm(dim=1)
    for label in labels.unique():
        of_class = norms[labels == label]
        assert of_class[-1] > 1e-3 and of_class.argmax() == len(of_class) - 1


@pytest.mark.parametrize("update", [ordered_update, mean_update])
def test_prototypes_of_absent_classes_have_no_gradient_in_any_sample(update):
    samples = SAMPLES[:2].clone().requires_grad_()
    moved = update(PROTOTYPES, samples, LABELS[:2], 0.5)
    (gradient,) = torch.autograd.grad(moved[2].sum(), samples, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(moved[:2].sum(), samples)
    assert gradient.any(1).all()


@pytest.mark.parametrize(("classes", "dim"), [(2, 2), (5, 3), (10, 16), (100, 32)])
def test_dispersion_is_that_of_a_double_loop_within_its_range(classes, dim, points):
    prototypes = points(classes, dim)
    rows = [
        math.log(sum(math.exp(prototypes[i] @ prototypes[j] / 0.1) for j in range(classes) if j != i) / (classes - 1))
        for i in range(classes)
    ]
    found = dispersion(prototypes, 0.1)
    close(found, sum(rows) / classes, atol=1e-12)
    assert -1 / (0.1 * (classes - 1)) - 1e-9 <= found <= 1 / 0.1 + 1e-9


def test_dispersion_is_invariant_to_rotation_and_permutation(points, generator):
    prototypes = points(12, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=generator)).Q
    expected = dispersion(prototypes, 0.1)
    torch.testing.assert_close(dispersion(prototypes @ rotation, 0.1), expected, rtol=1e-12, atol=0)
    order = torch.randperm(12, generator=generator)
    torch.testing.assert_close(dispersion(prototypes[order], 0.1), expected, rtol=1e-12, atol=0)


def test_dispersion_of_one_class_is_nothing(points):
    prototypes = points(1, 4).requires_grad_()
    loss = dispersion(prototypes, 0.1)
    loss.backward()
    assert loss == 0 and not prototypes.grad.any()


def test_dispersion_is_stable_at_low_temperatures(points):
    prototypes = points(5, 8).float().requires_grad_()
    loss = dispersion(prototypes, 1e-3)  # The exponential of 1000 is no number.
    loss.backward()
    assert loss.isfinite() and prototypes.grad.isfinite().all()


def test_compactness_is_a_sum_over_classes_by_hand(points, generator):
    prototypes, samples, labels = points(7, 5), points(40, 5), torch.randint(7, (40,), generator=generator)
    total = 0.0
    for point, label in zip(samples, labels.tolist()):
        shares = [math.exp(point @ prototype / 0.2) for prototype in prototypes]
        total -= math.log(shares[label] / sum(shares))
    found = compactness(samples, prototypes, labels, 0.2)
    close(found, total / 40, atol=1e-12)
    assert found >= 0


@pytest.mark.parametrize(("update", "rate"), [(ordered_update, 0.9), (mean_update, 0.9**5)])
def test_repeated_samples_are_approached_geometrically(update, rate, points):
    prototypes, target = points(2, 6), points(1, 6)
    labels, distances = torch.ones(5, dtype=torch.int64), []
    moved = prototypes
    for _ in range(30):
        moved = update(moved, target.expand(5, -1), labels, 0.9)
        distances.append((moved[1] - target[0]).norm().item())
    steps = 1 if update is mean_update else 5
    for before, after in pairwise(distances[10:]):
        assert after == pytest.approx(before * (rate if steps == 1 else rate**5), rel=0.05)
    assert distances[-1] < 1e-3 and torch.equal(moved[0], prototypes[0])


def test_the_mean_is_that_of_a_loop_over_classes(points, generator):
    prototypes, samples = points(9, 5), points(50, 5)
    labels = torch.randint(7, (50,), generator=generator)
    expected = prototypes.clone()
    for label in labels.unique():
        own = samples[labels == label]
        kept = 0.9 ** len(own)
        mixed = kept * prototypes[label] + (1 - kept) * own.mean(0)
        expected[label] = mixed / mixed.norm()
    torch.testing.assert_close(mean_update(prototypes, samples, labels, 0.9), expected, rtol=1e-12, atol=1e-13)


def test_the_mean_knows_no_order_the_loop_does(points, generator):
    prototypes, samples = points(6, 5), points(64, 5)
    labels, order = torch.randint(6, (64,), generator=generator), torch.randperm(64, generator=generator)
    one, other = (mean_update(prototypes, samples[i], labels[i], 0.9) for i in (torch.arange(64), order))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    one, other = (ordered_update(prototypes, samples[i], labels[i], 0.9) for i in (torch.arange(64), order))
    assert not torch.allclose(one, other, atol=1e-3)


# Supervised contrast


def contrast_by_hand(points, labels, temperature):
    """Equation 2 of Khosla et al., sample by sample; those without a positive do not count."""
    rows = []
    for i in range(len(points)):
        others = [a for a in range(len(points)) if a != i]
        whole = sum(math.exp(points[i] @ points[a] / temperature) for a in others)
        positives = [a for a in others if labels[a] == labels[i]]
        if positives:
            logs = [math.log(math.exp(points[i] @ points[p] / temperature) / whole) for p in positives]
            rows.append(-sum(logs) / len(positives))
    return sum(rows) / len(rows) if rows else 0.0


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2, 3], [0] * 5, [0, 1, 2, 0]],
    ids=["pairs", "two alone", "one class", "one pair"],
)
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrast_is_that_of_a_double_loop(labels, temperature, points):
    samples = points(len(labels), 4)
    found = supervised_contrast(samples, torch.tensor(labels), temperature)
    close(found, contrast_by_hand(samples, labels, temperature), atol=1e-12)


def test_two_views_contrast_as_the_published_block_of_views(points):
    """With every image's views as positives, the loss over views [N, 2, d] is that over 2N rows."""
    labels = torch.tensor([0, 1, 0, 2])
    views = points(4, 2, 8)
    rows = torch.cat(views.unbind(1))
    logits = rows @ rows.T / 0.1
    same = (labels[:, None] == labels).repeat(2, 2).double() * (1 - torch.eye(8, dtype=torch.float64))
    logits = logits - logits.amax(1, keepdim=True)
    log_shares = logits - (logits.exp() * (1 - torch.eye(8, dtype=torch.float64))).sum(1, keepdim=True).log()
    expected = -((same * log_shares).sum(1) / same.sum(1)).view(2, 4).mean()
    found = supervised_contrast(rows, labels.repeat(2), 0.1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_contrast_with_oneself_alone_is_nothing(points):
    samples = points(3, 4).requires_grad_()
    loss = supervised_contrast(samples, torch.arange(3), 0.1)
    loss.backward()
    assert loss == 0 and not samples.grad.any()


def test_contrast_has_a_finite_gradient_where_some_have_no_positive(points):
    samples = points(5, 4).float().requires_grad_()
    supervised_contrast(samples, torch.tensor([0, 0, 1, 2, 3]), 0.01).backward()
    assert samples.grad.isfinite().all() and samples.grad[2:].any(1).all()  # They still repel.


# Geometry


@pytest.mark.parametrize(("classes", "dim"), [(2, 2), (3, 128), (10, 10), (100, 128)])
def test_a_simplex_has_equal_angles(classes, dim, points):
    corners = simplex(points(classes, dim))
    cosines = corners @ corners.T
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    torch.testing.assert_close(cosines, expected, rtol=0, atol=1e-12)


def test_a_simplex_is_made_even_of_vectors_that_nearly_coincide(points):
    corners = simplex(points(1, 16).float() + 1e-4 * points(8, 16).float())
    cosines = corners @ corners.T
    torch.testing.assert_close(cosines, torch.full((8, 8), -1 / 7).fill_diagonal_(1), rtol=0, atol=1e-5)


def test_in_few_dimensions_vectors_stay(points):
    directions = points(5, 3)
    torch.testing.assert_close(simplex(7 * directions), directions)


def test_a_simplex_draws_nothing(points):
    directions, state = points(4, 8), torch.get_rng_state()
    assert torch.equal(simplex(directions), simplex(directions)) and torch.equal(torch.get_rng_state(), state)


def test_angles_by_hand():
    turn = [math.radians(degrees) for degrees in (0, 90, 120)]
    prototypes = tensor([[math.cos(t), math.sin(t)] for t in turn])
    samples = tensor([[1, 0], [0, 1], [1, 0]])
    found = angles(samples, prototypes, torch.tensor([0, 1, 1]))
    assert found["angle_between"].item() == pytest.approx((90 + 120 + 30) / 3)
    assert found["angle_nearest"].item() == pytest.approx(30)
    assert found["angle_own"].item() == pytest.approx(90 / 3)


def test_angles_have_no_gradient_and_are_finite_beyond_rounding():
    prototypes = torch.tensor([[1.0000001, 0.0], [-1.0000001, 0.0]], requires_grad=True)
    found = angles(prototypes, prototypes, torch.arange(2))
    assert all(value.isfinite() and not value.requires_grad for value in found.values())
    assert found["angle_between"] == 180 and found["angle_own"] == 0
    alone = angles(prototypes[:1], prototypes[:1], torch.zeros(1, dtype=torch.int64))
    assert all(value.isfinite() for value in alone.values())
