from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import expm, logm
from torch import nn
from torch.func import jacrev, vmap
from torch.nn.functional import silu

from outskirts.errors import OutskirtsError
from outskirts.models.volume_preserving import VolumePreserving
from outskirts.seeding import isolated

ROTATIONS = ("cayley", "expm", "fixed")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def built(dim=6, classes=3, seed=0, stirred=True, **options):
    """A network whose couplings do something, unless left as they begin."""
    with isolated(seed, "network"):
        network = VolumePreserving(dim, classes, **options)
        if stirred:
            for coupling in network.couplings:
                nn.init.normal_(coupling.outputs[-1].weight, std=0.3)
                nn.init.normal_(coupling.outputs[-1].bias, std=0.3)
            nn.init.normal_(network.rotations.bias)
    return network


def rows(count=20, dim=6, classes=3, dtype=torch.float32):
    return torch.randn(count, dim, generator=generator(1), dtype=dtype), torch.arange(count) % classes


forms = pytest.mark.parametrize(
    "options",
    [*({"rotation": rotation} for rotation in ROTATIONS), {"reference_quirks": True}],
    ids=[*ROTATIONS, "published"],
)


# Volume


@forms
@pytest.mark.parametrize("dim", [2, 5, 16, 17])
def test_the_jacobian_has_determinant_one(dim, options):
    network = built(dim, **options).double()
    x, labels = rows(4, dim, dtype=torch.float64)
    jacobian = vmap(jacrev(lambda row, label: network(row[None], label[None])[0]))(x, labels)
    sign, log = torch.linalg.slogdet(jacobian)
    assert (sign == 1).all() and log.abs().max() < 1e-10
    assert jacobian.sub(torch.eye(dim)).abs().max() > 0.1
    assert torch.equal(network.log_abs_det(x), torch.zeros(4, dtype=torch.float64))


@forms
@pytest.mark.parametrize(
    ("dim", "dtype", "tolerance"),
    [
        (16, torch.float32, 1e-5),
        (17, torch.float32, 1e-5),
        (64, torch.float32, 1e-5),
        (768, torch.float32, 5e-5),
        (5, torch.float64, 1e-10),
        (64, torch.float64, 1e-10),
    ],
)
def test_the_inverse_comes_back(dim, dtype, tolerance, options):
    # Exponentials round more, the larger the matrix; the published one is large.
    tolerance *= {"expm": 10, "cayley": 1, "fixed": 1}.get(options.get("rotation"), 100)
    blocks = 2 if dim == 768 else 4
    network = built(dim, hidden=32, blocks=blocks, **options).to(dtype)
    x, labels = rows(20, dim, dtype=dtype)
    with torch.no_grad():
        pinned = network.pinned()
        u = pinned(x, labels)
        assert u.dtype == dtype
        assert (pinned.inverse(u, labels) - x).abs().max() < tolerance
        assert (pinned(pinned.inverse(x, labels), labels) - x).abs().max() < tolerance


def test_the_default_rounds_far_less_than_the_published_form():
    errors = []
    for options in ({"rotation": "cayley"}, {"reference_quirks": True}):
        # In double precision, so that the product which tells the error adds none of its own.
        q = built(256, hidden=16, stirred=False, **options).rotations().detach().double()
        errors.append((q @ q.mT - torch.eye(256)).abs().max())
    assert 10 * errors[0] < 1e-5 < errors[1]


@forms
@pytest.mark.parametrize("count", [0, 1])
def test_small_batches(count, options):
    network, (x, labels) = built(5, **options), rows(count, 5)
    u = network(x, labels)
    assert u.shape == (count, 5) and network.log_abs_det(x).shape == (count,)
    torch.testing.assert_close(network.inverse(u, labels), x, rtol=0, atol=1e-5)


@forms
def test_labels_may_be_mixed(options):
    network, (x, labels) = built(**options).double(), rows(dtype=torch.float64)
    mixed = network(x, labels)
    for label in range(3):
        alone = network(x[labels == label], labels[labels == label])
        torch.testing.assert_close(mixed[labels == label], alone, rtol=0, atol=1e-12)
    other = network(x, (labels + 1) % 3)
    assert (other - mixed).abs().amax(1).min() > 1e-3


def test_half_precision_around_it_changes_nothing():
    network, (x, labels) = built(), rows()
    plain = network(x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        pinned = network.pinned()
        assert torch.equal(pinned(x, labels), plain)
        torch.testing.assert_close(pinned.inverse(plain, labels), x, rtol=0, atol=1e-5)


# The formulas


def test_two_dimensions_by_hand():
    network = VolumePreserving(2, 1, blocks=1, hidden=1, rotation="expm").double()
    coupling = network.couplings[0]
    coupling.inputs, coupling.outputs = nn.Linear(1, 1, dtype=torch.float64), nn.Identity()
    with torch.no_grad():
        network.rotations.skew.copy_(torch.tensor([[7.0, torch.pi / 2], [-7.0, 7.0]], dtype=torch.float64))
        for weight, value in zip(coupling.inputs.parameters(), (3.0, 1.0)):
            weight.fill_(value)
        for weight in network.conditions.parameters():
            weight.zero_()
    quarter = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(network.pinned().matrices, quarter.expand(2, 2, 2))
    # (1, 2) is turned to (2, -1), shifted by 3 · (-1) + 1 to (0, -1), and turned to (-1, 0).
    x, label = torch.tensor([[1.0, 2.0]], dtype=torch.float64), torch.tensor([0])
    u = network(x, label)
    torch.testing.assert_close(u, torch.tensor([[-1.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(network.inverse(u, label), x)


@pytest.mark.parametrize("quirks", [False, True])
def test_the_network_is_that_of_its_formula(quirks):
    network, (x, labels) = built(7, reference_quirks=quirks).double(), rows(6, 7, dtype=torch.float64)
    act = torch.sigmoid if quirks else silu

    def linear(layer, vector):
        return layer.weight @ vector + layer.bias

    for row, label, u in zip(x, labels, network(x, labels)):
        for number, q in enumerate(network.rotations()):
            row = q @ row + network.rotations.bias[number]
            if number < 4:
                coupling = network.couplings[number]
                hidden = linear(coupling.inputs[2], act(linear(coupling.inputs[0], row[3:])))
                hidden = hidden + linear(network.conditions[number][1], silu(network.table[label]))
                hidden = linear(coupling.outputs[1], act(hidden))
                row = torch.cat([row[:3] + linear(coupling.outputs[3], act(hidden)), row[3:]])
        torch.testing.assert_close(u, row)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_rotations_are_those_of_their_formulas(rotation):
    rotations = built(7, rotation=rotation).double().rotations
    upper = np.triu(rotations.skew.detach().numpy(), 1)
    for skew, found in zip(upper - upper.swapaxes(1, 2), rotations().detach().numpy(), strict=True):
        cayley = np.linalg.solve(np.eye(7) - skew, np.eye(7) + skew)
        np.testing.assert_allclose(found, expm(skew) if rotation == "expm" else cayley, atol=1e-12)


def test_fixed_rotations_are_saved_and_not_trained():
    network = built(rotation="fixed")
    assert not network.rotations().requires_grad and "rotations.skew" in network.state_dict()
    assert "rotations.skew" not in dict(network.named_parameters())


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_it_begins_as_a_rotation_that_is_the_same_for_all_classes(rotation):
    network = built(9, stirred=False, rotation=rotation).double()
    x, labels = rows(20, 9, dtype=torch.float64)
    u = network(x, labels)
    torch.testing.assert_close(u.norm(dim=1), x.norm(dim=1))
    torch.testing.assert_close(torch.cdist(u, u), torch.cdist(x, x))
    torch.testing.assert_close(network(x, (labels + 1) % 3), u)
    assert (u - x).abs().max() > 0.1


def test_without_blocks_it_is_one_rotation():
    network, (x, labels) = built(blocks=0), rows()
    with torch.no_grad():
        expected = x @ network.rotations()[0].T + network.rotations.bias[0]
        torch.testing.assert_close(network(x, labels), expected)


def test_the_published_layout_has_its_number_of_parameters():
    with torch.device("meta"):
        network = VolumePreserving(768, 100, blocks=4, reference_quirks=True)
    assert sum(weight.numel() for weight in network.parameters()) == 36_162_816


def test_the_published_parameters_begin_as_published():
    network = built(16, reference_quirks=True, stirred=False)
    skew, bias = network.rotations.skew, network.rotations.bias
    assert 3 < skew.abs().max() < torch.pi and 0.2 < bias.abs().max() <= 0.25
    assert network.couplings[0].outputs[-1].weight.any()
    assert sum(isinstance(module, nn.Sigmoid) for module in network.modules()) == 3 * 4


@pytest.mark.parametrize("rotation", ["cayley", "expm"])
def test_it_agrees_with_zuko(rotation):
    zuko = pytest.importorskip("zuko")
    dim, (x, _) = 7, rows(20, 7, dtype=torch.float64)
    network = built(dim, rotation=rotation, blocks=2).double()
    label = torch.full((20,), 1)
    pinned, shifts = network.pinned(), network.rotations.bias.detach()
    matrices = pinned.matrices.detach()
    changed = torch.arange(dim) < dim // 2

    def shift(coupling, condition, constant):
        return zuko.transforms.DependentTransform(
            zuko.transforms.AdditiveTransform(coupling(constant, condition).detach()), 1
        )

    steps = []
    for number, matrix in enumerate(matrices):
        # Theirs is the exponential of A - Aᵀ.
        steps.append(zuko.transforms.RotationTransform(torch.from_numpy(logm(matrix.numpy()).real).triu(1)))
        steps.append(zuko.transforms.DependentTransform(zuko.transforms.AdditiveTransform(shifts[number]), 1))
        if number < 2:
            meta = partial(shift, network.couplings[number], pinned.conditions[number][1])
            steps.append(zuko.transforms.CouplingTransform(meta, ~changed))
    theirs = zuko.transforms.ComposedTransform(*steps)
    u, log_abs_det = theirs.call_and_ladj(x)
    torch.testing.assert_close(network(x, label), u)
    torch.testing.assert_close(network.inverse(u, label), theirs.inv(u))
    assert torch.equal(log_abs_det, network.log_abs_det(x))


# Training


@forms
def test_every_parameter_that_is_used_has_a_gradient(options):
    network, (x, labels) = built(**options), rows()
    pinned = network.pinned()
    u = pinned(x, labels)
    (u[:, -2:].square().mean() + pinned.inverse(u * 0.5, labels).square().mean()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name


def test_what_is_pinned_is_computed_once_and_gives_the_same():
    network, (x, labels) = built(), rows()
    calls = []
    network.rotations.register_forward_hook(lambda *_: calls.append("rotations"))
    network.conditions[0].register_forward_hook(lambda *_: calls.append("condition"))
    pinned = network.pinned()
    u = pinned(x, labels)
    back = pinned.inverse(u, labels)
    assert sorted(calls) == ["condition", "rotations"]
    assert torch.equal(network(x, labels), u) and torch.equal(network.inverse(u, labels), back)


@pytest.mark.parametrize("change", ["step", "load"])
def test_what_is_pinned_cannot_outlive_its_weights(change):
    network, (x, labels) = built(), rows()
    pinned = network.pinned()
    optimizer = torch.optim.Adam(network.parameters())
    pinned.inverse(pinned(x, labels) * 0.5, labels).square().sum().backward()
    pinned(x, labels)
    if change == "step":
        optimizer.step()
    else:
        network.load_state_dict(built(seed=1).state_dict())
    for function in (pinned, pinned.inverse):
        with pytest.raises(OutskirtsError, match="weights have changed since its matrices were computed"):
            function(x, labels)
    network.pinned()(x, labels)


@forms
def test_the_state_dict_holds_all(options):
    network, other, (x, labels) = built(**options), built(seed=1, **options), rows()
    assert not torch.equal(network(x, labels), other(x, labels))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(x, labels), other(x, labels))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dim": 1}, "at least 2 dimensions, 1 class and 0 blocks, not 1, 3 and 4"),
        ({"classes": 0}, "not 6, 0 and 4"),
        ({"blocks": -1}, "not 6, 3 and -1"),
        ({"hidden": -5}, "a width of at least 1, not -5"),
        ({"hidden": 0}, "a width of at least 1, not 0"),
        ({"rotation": "caley"}, "rotation must be one of cayley, expm, fixed, not 'caley'; did you mean 'cayley'"),
    ],
)
def test_arguments_out_of_range_are_refused(options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        built(**options)
