"""Embeddings of images, by a small Stable Diffusion with random weights in a real one's folders."""

import json
import shutil

import pytest
import torch
from torch import Generator

from outskirts.errors import OutskirtsError
from outskirts.seeding import isolated

pytest.importorskip("diffusers")

from outskirts.generation.diffusion.inversion import Inversion, denoising_losses, invert
from outskirts.models.diffusion.stable import load_stable_diffusion

WORDS = ["cat", "dog", "ox"]


@pytest.fixture(scope="module")
def model(stable_folder):
    return load_stable_diffusion(stable_folder, WORDS)


def images(count=3, side=16):
    return torch.rand(count, 3, side, side, generator=Generator().manual_seed(0)) * 2 - 1


# Prompts


def test_a_vector_in_its_place_is_the_word_itself(model, stable_folder):
    from transformers import CLIPTokenizer

    encoder, tokenizer = model.prompts.encoder, CLIPTokenizer.from_pretrained(stable_folder / "tokenizer")
    texts = tokenizer(["an image of a cat", "an image of a dog"], padding="max_length", return_tensors="pt").input_ids
    expected = encoder(input_ids=texts).last_hidden_state
    found = model.prompts(model.prompts.vectors(torch.tensor([0, 1])))
    assert torch.equal(found, expected)
    # As if the row of the vocabulary were edited, of which nothing stays.
    table = encoder.get_input_embeddings().weight
    other = torch.randn(8, generator=Generator().manual_seed(1))
    row = int(tokenizer("cat", add_special_tokens=False).input_ids[0])
    before = table.detach().clone()
    with torch.no_grad():
        table[row] = other
        edited = encoder(input_ids=texts[:1]).last_hidden_state
        table[row] = before[row]
    assert torch.equal(model.prompts(other[None]), edited)
    assert torch.equal(table, before)
    nothing = tokenizer([""], padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(model.prompts.empty(other[None]), encoder(input_ids=nothing).last_hidden_state)


def test_an_error_leaves_the_vocabulary_as_it_was(model):
    with pytest.raises(RuntimeError):
        model.prompts(torch.zeros(2, 5))
    embeddings = model.prompts.encoder.get_input_embeddings()
    assert not embeddings._forward_hooks


def test_words_of_several_pieces_are_their_mean(model):
    table = model.prompts.encoder.get_input_embeddings().weight
    pieces = [ord("o") - ord("a"), 26 + ord("x") - ord("a")]
    torch.testing.assert_close(model.prompts.vectors(torch.tensor([2]))[0], table[pieces].mean(0))


@pytest.mark.parametrize(
    ("words", "template", "said"),
    [
        (WORDS, "an image", "must have one place for a class"),
        (WORDS, "a {} like a {}", "must have one place for a class; write"),
        (WORDS, "a " * 40 + "{}", "tokens, but its encoder takes 32"),
        (["0", "1", "2"], "a {}", r"does not know what 0, 1, 2 are; .* --words"),
        (["cat", " "], "a {}", "No token stands for the class ' '"),
    ],
)
def test_prompts_that_will_not_do(stable_folder, words, template, said):
    with pytest.raises(OutskirtsError, match=said):
        load_stable_diffusion(stable_folder, words, template)


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        ("tokenizer", "is not a Stable Diffusion: it lacks tokenizer"),
        ("model_index.json", "has no model_index"),
        ("unet/config.json", "cannot be loaded"),
        ("tokenizer/*", "cannot be loaded|knows . tokens"),
    ],
)
def test_folders_that_lack_something(stable_folder, tmp_path, remove, said):
    folder = tmp_path / "stable"
    shutil.copytree(stable_folder, folder)
    for path in list(folder.glob(remove)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(OutskirtsError, match=said):
        load_stable_diffusion(folder, WORDS)


def test_a_network_that_knows_no_size(stable_folder, tmp_path):
    folder = tmp_path / "stable"
    shutil.copytree(stable_folder, folder)
    about = folder / "unet" / "config.json"
    about.write_text(
        json.dumps({name: value for name, value in json.loads(about.read_text()).items() if name != "sample_size"})
    )
    with pytest.raises(OutskirtsError, match=r"config\.json has no sample_size"):
        load_stable_diffusion(folder, WORDS)


@pytest.mark.parametrize("token", ["bos_token", "eos_token", "pad_token"])
def test_tokens_that_the_encoder_does_not_know(stable_folder, tmp_path, token):
    folder = tmp_path / "stable"
    shutil.copytree(stable_folder, folder)
    about = folder / "tokenizer" / "tokenizer_config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), token: "a\nb"}))
    with pytest.raises(OutskirtsError, match=r"does not know the token 'a\\nb' of its tokenizer"):
        load_stable_diffusion(folder, WORDS)


def test_a_tokenizer_that_cannot_be_used(stable_folder, tmp_path):
    folder = tmp_path / "stable"
    shutil.copytree(stable_folder, folder)
    about = folder / "tokenizer" / "tokenizer_config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "model_max_length": "long"}))
    with pytest.raises(OutskirtsError, match="The tokenizer of this Stable Diffusion cannot be used"):
        load_stable_diffusion(folder, WORDS)


def test_nothing_is_fetched(stable_folder, monkeypatch):
    def connect(*given):
        raise AssertionError("a connection was made")

    monkeypatch.setattr("socket.socket.connect", connect)
    assert load_stable_diffusion(stable_folder, WORDS).classes == WORDS


# The model


def test_the_schedule_is_stable_diffusions(model):
    alphas = model.noising.alphas_cumprod
    for time, expected in ((1, 0.998296), (21, 0.980381), (481, 0.302296), (981, 0.005776)):
        assert alphas[time].item() == pytest.approx(expected, abs=1e-6)


def test_images_of_their_own_seeds(model):
    vectors = model.prompts.vectors(torch.tensor([0, 1]))
    made = model.sample(vectors, [1, 2], steps=2, guidance=7.5)
    assert made.shape == (2, 3, 16, 16) and made.abs().max() <= 1
    torch.testing.assert_close(model.sample(vectors[1:], [2], steps=2, guidance=7.5), made[1:], rtol=0, atol=1e-3)


def test_plms_takes_the_published_times(model):
    times = model._scheduler(50, "plms", torch.device("cpu")).timesteps.tolist()
    assert times == [981, 961, *range(961, 0, -20)] and len(times) == 51


@torch.no_grad()
def test_plms_is_its_formulas(model):
    """A first step by the mean of two predictions, then Adams and Bashforth's weights of up to four."""
    vectors = model.prompts.vectors(torch.tensor([0]))
    conditions, empty = model.prompts(vectors), model.prompts.empty(vectors)
    alphas, steps = model.noising.alphas_cumprod, 6
    times = [1 + 166 * place for place in reversed(range(steps))]

    def predicted(x, time):
        without = model.unet(x, time, empty).sample
        return without + 7.5 * (model.unet(x, time, conditions).sample - without)

    def moved(x, noise, now, then):
        one, other = alphas[now], alphas[max(then, 0)]
        return other.sqrt() * (x - (1 - one).sqrt() * noise) / one.sqrt() + (1 - other).sqrt() * noise

    shape = (model.unet.config.in_channels, *(model.unet.config.sample_size,) * 2)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5))[None]
    weights = {2: (3, -1), 3: (23, -16, 5), 4: (55, -59, 37, -9)}
    noises = []
    for now in times:
        noises.insert(0, predicted(x, now))
        if len(noises) == 1:
            noise = (noises[0] + predicted(moved(x, noises[0], now, now - 166), now - 166)) / 2
        else:
            factors = weights[min(len(noises), 4)]
            noise = sum(factor * each for factor, each in zip(factors, noises)) / sum(factors)
        x = moved(x, noise, now, now - 166)
    expected = model.codec.decode(x).clamp(-1, 1)
    found = model.sample(vectors, [5], steps=steps, guidance=7.5, sampler="plms")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, model.sample(vectors, [5], steps=steps, guidance=7.5), atol=1e-2)


def test_codes_are_those_of_the_autoencoder(model):
    codes = model.codec.encode(images())
    expected = model.codec.vae.encode(images()).latent_dist.mode() * 0.18215
    torch.testing.assert_close(codes, expected)


# Inversion


def test_the_first_step_is_the_rate_s(model):
    labels, how = torch.tensor([0, 1, 2]), Inversion(steps=1, draws=4)
    vectors, course = invert(model, model.codec.encode(images()), labels, [1, 2, 3], how)
    moved = (vectors - model.prompts.vectors(labels)).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)
    assert course.shape == (1, 3)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("paired", [True, False])
def test_a_batch_is_its_images_one_by_one(model, paired):
    latents, labels = model.codec.encode(images()), torch.tensor([0, 1, 0])
    how = Inversion(steps=3, draws=4, paired=paired, chunk=5)
    together, course = invert(model, latents, labels, [1, 2, 3], how)
    for i in range(3):
        alone, own = invert(model, latents[i : i + 1], labels[i : i + 1], [1 + i], how)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(course[:, i : i + 1], own, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_loss_is_that_of_the_noise(model, prediction, monkeypatch):
    """Written out for one image, whatever the network predicts; the gradient is autograd's of that."""
    monkeypatch.setattr(type(model), "predicts_noise", property(lambda self: prediction == "epsilon"))
    latents, how = model.codec.encode(images(1)), Inversion(steps=1, draws=6)
    vector = model.prompts.vectors(torch.tensor([0])).clone().requires_grad_()
    from outskirts.generation.diffusion import inversion

    times, noise = inversion._drawn(model, latents, [Generator().manual_seed(4)], how)
    total = 0.0
    for time, epsilon in zip(times[0], noise[0]):
        alpha = model.noising.alphas_cumprod[time]
        noised = alpha.sqrt() * latents + (1 - alpha).sqrt() * epsilon
        said = model.unet(noised, time, model.prompts(vector)).sample
        if prediction != "epsilon":
            said = alpha.sqrt() * said + (1 - alpha).sqrt() * noised
        total = total + (said - epsilon).square().mean() / 6
    (expected,) = torch.autograd.grad(total, vector)
    found, gradient = inversion._loss(model, latents, vector, times, noise, 4)
    torch.testing.assert_close(found[0], total.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(denoising_losses(model, latents, vector, [4], how), found)


def test_times_and_noise(model):
    from outskirts.generation.diffusion.inversion import _drawn

    latents = torch.zeros(200, 2, 8, 8)
    generators = [Generator().manual_seed(s) for s in range(200)]
    times, noise = _drawn(model, latents, generators, Inversion(draws=10))
    assert set(times.flatten().tolist()) == set(range(1, 1000, 20)), "the grid of fifty steps"
    assert torch.equal(noise[:, :5], -noise[:, 5:]) and torch.equal(times[:, :5], times[:, 5:])
    assert torch.equal(times[:, :5] // 200, torch.arange(5).expand(200, 5)), "one of each part of the range"
    times, noise = _drawn(model, latents, generators, Inversion(draws=32, paired=False))
    assert set(times.flatten().tolist()) == set(range(1, 1000, 20))
    assert noise.flatten().std().item() == pytest.approx(1, abs=0.01)


def test_more_steps_fit_better(model):
    latents, labels, seeds = model.codec.encode(images(4)), torch.tensor([0, 1, 2, 0]), [1, 2, 3, 4]
    with isolated(0, "held out"):
        vectors, _ = invert(model, latents, labels, seeds, Inversion(steps=40, draws=8))
    judged = Inversion(draws=200)
    before = denoising_losses(model, latents, model.prompts.vectors(labels), [9, 8, 7, 6], judged)
    after = denoising_losses(model, latents, vectors, [9, 8, 7, 6], judged)
    assert (after < before).all()


def test_codes_that_are_not_finite(model):
    latents = model.codec.encode(images())
    latents[1] = torch.inf
    with pytest.raises(OutskirtsError, match="The loss of image 1 of a batch of 3 is"):
        invert(model, latents, torch.tensor([0, 1, 2]), [1, 2, 3], Inversion(steps=1, draws=2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"draws": 3}, "number must be even, not 3"),
    ],
)
def test_ways_that_will_not_do(options, said):
    with pytest.raises(OutskirtsError, match=said):
        Inversion(**options)
