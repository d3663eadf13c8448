import pytest
import torch
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.synthesis.pixel import (
    KINDS,
    PixelSynthesizer,
    add_gradient,
    gaussian_noise,
    permutations,
    saliency,
    shuffle_pixels,
)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Published vectors (specification 6.1)


def test_counts(vectors):
    for case in vectors["V2_counts"]["gradient"]:
        shape = (1, case["C"], case["H"], case["W"])
        gradient = torch.randn(shape, generator=seeded())
        assert (add_gradient(torch.zeros(shape), gradient, 1.0, case["p"]) != 0).sum() == case["n"]
    for case in vectors["V2_counts"]["shuffle"]:
        places = torch.arange(case["H"] * case["W"]).view(1, 1, case["H"], case["W"])
        rotated = torch.arange(case["n"]).roll(1)[None]
        assert (shuffle_pixels(places, places[0], case["p"], rotated) != places).sum() == case["n"]


@pytest.mark.parametrize("case", ["a", "b_dense", "c_minus", "d_batch"])
def test_gradient_vectors(vectors, case):
    v = vectors[f"V3_gradient_{case}"]
    images, gradient = tensor(v["x"]), tensor(v["G"])
    moved = add_gradient(images, gradient, v["alpha"], v["p_inv"])
    close(moved, tensor(v["out"]))
    changed = [row.nonzero().flatten().tolist() for row in (moved != images).flatten(1)]
    # In the dense case two of the gradient's values are zero.
    assert all(set(row) <= set(index) for row, index in zip(changed, v["idx"]))
    if "l1" in v:
        close((moved - images).abs().sum(), tensor(v["l1"]))


@pytest.mark.parametrize("case", ["a", "b", "c_n1_identity"])
def test_shuffle_vectors(vectors, case):
    v = vectors[f"V4_shuffle_{case}"]
    importance = tensor(v["G"]).exp().sum(0)[None]
    close(importance.flatten(), tensor(v["saliency"]))
    assert importance.flatten().topk(len(v["top"])).indices.tolist() == v["top"]
    close(shuffle_pixels(tensor(v["x"])[None], importance, v["p_inv"], torch.tensor([v["perm"]]))[0], tensor(v["out"]))


class Linear(nn.Module):
    """The true-class logit's gradient is given."""

    def __init__(self, gradient):
        super().__init__()
        self.gradient = gradient

    def forward(self, images):
        return (images * self.gradient).sum((1, 2, 3))[:, None]


@pytest.mark.parametrize(("signed", "chosen"), [(True, {0, 3}), (False, {0, 1})])
def test_shuffle_ranks_by_the_signed_gradient_unless_asked(vectors, signed, chosen):
    v = vectors["V4_shuffle_b"]
    synthesizer = PixelSynthesizer("shuffle", v["p_inv"], signed=signed)
    changed = set()
    for seed in range(8):
        made = synthesizer(Linear(tensor(v["G"])), tensor(v["x"])[None], torch.tensor([0]), 1.0, seeded(seed))
        changed |= set((made.values[0, 0] != tensor(v["x"])[0]).flatten().nonzero().flatten().tolist())
    assert changed == chosen


# Naive loops beside the fast forms


def test_add_gradient_equals_a_loop(images, generator):
    gradient = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    for p_inv in (0.0, 0.1, 0.37, 1.0):
        expected = images.clone()
        for image, slope in zip(expected, gradient):
            places = sorted(range(slope.numel()), key=lambda i, s=slope: -abs(s.flatten()[i]))
            for i in places[: int(slope.numel() * p_inv)]:
                image.view(-1)[i] += 2.5 * slope.flatten()[i]
        close(add_gradient(images, gradient, 2.5, p_inv), expected)


def test_shuffle_pixels_equals_a_loop(images, generator):
    importance = torch.rand(4, 6, 6, generator=generator)
    for p_inv in (0.0, 0.2, 1.0):
        count = int(36 * p_inv)
        order = permutations(4, count, generator)
        expected = images.clone()
        for b in range(4):
            places = sorted(range(36), key=lambda i, b=b: -importance[b].flatten()[i])[:count]
            for k in range(count):
                expected[b].view(3, 36)[:, places[k]] = images[b].view(3, 36)[:, places[order[b, k]]]
        assert torch.equal(shuffle_pixels(images, importance, p_inv, order), expected)


def test_permutations_are_independent_and_uniform():
    drawn = permutations(6000, 3, seeded())
    assert torch.equal(drawn.sort(1).values, torch.arange(3).expand(6000, 3))
    _, counts = drawn.unique(dim=0, return_counts=True)
    assert len(counts) == 6 and (counts - 1000).abs().max() < 150


# Invariants


def test_gradient_outliers_differ_on_exactly_the_mask(network, images, labels, generator):
    gradient = saliency(network, images, labels)
    made = PixelSynthesizer("gradient", 0.25)(network, images, labels, 3.0, generator).values
    mask = made != images
    assert mask.flatten(1).sum(1).tolist() == [27] * 4
    close((made - images)[mask], 3 * gradient[mask])
    assert torch.equal((made - images)[mask].sign(), gradient[mask].sign())
    weakest, strongest_left = gradient.abs()[mask].view(4, -1).amin(1), (gradient.abs() * ~mask).flatten(1).amax(1)
    assert (weakest >= strongest_left).all()


def test_doubling_alpha_doubles_the_change(network, images, labels, generator):
    one, two = (PixelSynthesizer()(network, images, labels, alpha, generator).values for alpha in (1.0, 2.0))
    close(two - images, 2 * (one - images))


def test_subtract_and_dense_are_the_gradient_otherwise(network, images, labels, generator):
    gradient = saliency(network, images, labels)
    down = PixelSynthesizer("subtract", 0.25)(network, images, labels, 3.0, generator).values
    close(down, add_gradient(images, gradient, -3.0, 0.25))
    assert (saliency_logit(network, down, labels) < saliency_logit(network, images, labels)).all()
    close(PixelSynthesizer("dense")(network, images, labels, 3.0, generator).values, images + 3 * gradient)


def saliency_logit(network, images, labels):
    with torch.no_grad():
        return network.eval()(images).gather(1, labels[:, None])


@pytest.mark.parametrize("kind", ["gradient", "subtract", "shuffle", "random-shuffle"])
def test_a_share_of_nothing_is_the_identity(network, images, labels, generator, kind):
    assert torch.equal(PixelSynthesizer(kind, 0.0)(network, images, labels, 9.0, generator).values, images)


@pytest.mark.parametrize("kind", ["gradient", "subtract", "dense"])
def test_equivariant_to_the_order_of_the_batch(network, images, labels, generator, kind):
    order = torch.tensor([2, 0, 3, 1])
    made = PixelSynthesizer(kind)(network, images, labels, 3.0, generator).values
    permuted = PixelSynthesizer(kind)(network, images[order], labels[order], 3.0, generator).values
    close(permuted, made[order])


@pytest.mark.parametrize("kind", ["shuffle", "random-shuffle"])
def test_shuffles_move_whole_pixels_only(network, images, labels, generator, kind):
    made = PixelSynthesizer(kind, 0.3)(network, images, labels, 3.0, generator).values
    assert torch.equal(made.flatten(2).sort().values, images.flatten(2).sort().values)
    # Every pixel of the result is, with all of its channels, a pixel of the source.
    same = (made.flatten(2)[..., None] == images.flatten(2)[:, :, None]).all(1)
    assert (same.sum(2) == 1).all() and (same.sum(1) == 1).all()
    moved = (made != images).any(1).flatten(1)
    assert 0 < moved.sum(1).max() <= 10
    if kind == "shuffle":
        importance = saliency(network, images, labels).exp().sum(1).flatten(1)
        least = importance.sort(descending=True).values[:, 9:10]
        assert (importance >= least)[moved].all()


def test_random_shuffle_needs_no_classifier(images, labels, generator):
    made = PixelSynthesizer("random-shuffle")(nn.Identity(), images, labels, 1.0, generator)
    assert made.values.shape == images.shape


def test_gaussian_ignores_the_images(images, labels):
    one = PixelSynthesizer("gaussian")(nn.Identity(), images, labels, 0.1, seeded(3)).values
    two = PixelSynthesizer("gaussian")(nn.Identity(), 7 - images, labels, 0.1, seeded(3)).values
    assert torch.equal(one, two) and one.dtype == images.dtype and one.shape == images.shape


def test_gaussian_has_mean_zero_and_deviation_alpha():
    noise = gaussian_noise(torch.zeros(10, 3, 32, 32), 0.1, seeded())
    assert abs(noise.mean()) < 3 * 0.1 / noise.numel() ** 0.5
    assert abs(noise.std() - 0.1) < 0.001


@pytest.mark.parametrize("kind", KINDS)
def test_synthesis_leaves_no_trace(network, images, labels, generator, kind):
    network[0].weight.grad = torch.ones_like(network[0].weight)
    flags = [part.training for part in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    copy, rng = images.clone(), torch.get_rng_state()
    made = PixelSynthesizer(kind)(network, images, labels, 3.0, generator)
    assert [part.training for part in network.modules()] == flags and len(set(flags)) == 2
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [name for name, p in network.named_parameters() if p.grad is not None] == ["0.weight"]
    assert (network[0].weight.grad == 1).all()
    assert torch.equal(images, copy) and not images.requires_grad
    assert torch.equal(torch.get_rng_state(), rng)
    assert not made.values.requires_grad and made.values.dtype == images.dtype
    assert torch.equal(made.labels, labels)
    close(made.info["change"], (made.values - images).square().mean().sqrt())


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_everything_random(network, images, labels, kind):
    one, two, other = (PixelSynthesizer(kind)(network, images, labels, 3.0, seeded(s)).values for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert torch.equal(one, other) == (kind in ("gradient", "dense", "subtract"))


def test_modes_are_restored_after_an_error(network, images):
    flags = [part.training for part in network.modules()]
    with pytest.raises(RuntimeError):
        saliency(network, images, torch.tensor([9] * 4))
    assert [part.training for part in network.modules()] == flags


# Saliency


def test_saliency_is_the_gradient_of_the_true_class_logit(network, images, labels):
    reference = images.clone().requires_grad_()
    network.eval()
    for i, label in enumerate(labels):
        network(reference[i : i + 1])[0, label].backward()
    close(saliency(network, images, labels), reference.grad)


def test_saliency_is_that_of_evaluation_mode_in_every_mode(network, images, labels):
    trained = saliency(network.train(), images, labels)
    assert all(part.training for part in network.modules())
    evaluated = saliency(network.eval(), images, labels)
    assert not any(part.training for part in network.modules())
    assert torch.equal(trained, evaluated)


def test_saliency_inside_no_grad_and_of_frozen_parameters(network, images, labels):
    expected = saliency(network, images, labels)
    with torch.no_grad():
        assert torch.equal(saliency(network.requires_grad_(False), images, labels), expected)


# Options


def test_relative_alpha_measures_the_step_in_images(network, images, labels, generator):
    made = PixelSynthesizer("dense", relative=True)(network, images, labels, 0.5, generator).values
    rms = images.square().mean((1, 2, 3)).sqrt()
    close((made - images).square().mean((1, 2, 3)).sqrt(), 0.5 * rms)
    with torch.no_grad():
        network[-1].weight.mul_(1000)
    close(PixelSynthesizer("dense", relative=True)(network, images, labels, 0.5, generator).values, made)


def test_relative_alpha_without_a_gradient_is_the_image(images, labels, generator):
    for slope in (0.0, 1e-30):
        constant = Linear(torch.full((3, 6, 6), slope)).float()
        single = images.float()
        made = PixelSynthesizer("dense", relative=True)(constant, single, torch.zeros(4).long(), 300.0, generator)
        torch.testing.assert_close(made.values, single)


def test_bounds_clamp_each_channel(network, images, labels, generator):
    bounds = ((-1.0, -0.5, 0.0), (1.0, 0.5, 0.25))
    free = PixelSynthesizer("gradient")(network, images, labels, 30.0, generator).values
    made = PixelSynthesizer("gradient", bounds=bounds)(network, images, labels, 30.0, generator).values
    for channel, (low, high) in enumerate(zip(*bounds)):
        close(made[:, channel], free[:, channel].clamp(low, high))


def test_impossible_options_are_told():
    with pytest.raises(OutskirtsError, match=r"kind must be one of gradient, dense.*, not 'noise'"):
        PixelSynthesizer("noise")
    with pytest.raises(OutskirtsError, match="from 0 to 1, not 10"):
        PixelSynthesizer(p_inv=10)
