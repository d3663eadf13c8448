from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from outskirts.data.imageset import ImageSet
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, save_json
from outskirts.seeding import isolated
from outskirts.training.config import TrainConfig
from outskirts.training.loop import Interrupted

pytest.importorskip("diffusers")

from outskirts.data.sources import open as open_images
from outskirts.generation.diffusion.training import begun, train_model
from outskirts.generation.generators import registry
from outskirts.models.diffusion import SIZES, DiffusionModel
from outskirts.models.diffusion.codes import ImageCodes
from outskirts.models.diffusion.model import Size
from outskirts.models.diffusion.prompts import ClassPrompts, text_encoder

CLASSES = ["ant", "bee", "fly"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def nano(monkeypatch, pictures):
    """A network that trains in seconds."""
    monkeypatch.setitem(SIZES, "nano", Size((16, 16), 1, 16, 2))
    with isolated(0, "nano"):
        return DiffusionModel("nano", CLASSES, 1, 8).fit_codec(*pictures()).eval()


# Prompts


def test_vectors_stand_where_the_vocabulary_would():
    with isolated(0, "prompts"):
        prompts = ClassPrompts(text_encoder(3, 16)).eval()
    table = prompts.encoder.get_input_embeddings().weight
    labels = torch.tensor([0, 2])
    found = prompts(prompts.vectors(labels))
    # The text with the class's own word.
    expected = prompts.encoder(input_ids=torch.tensor([[1, 2, 4 + c, 0] for c in labels])).last_hidden_state
    assert torch.equal(found, expected)
    assert torch.equal(prompts.vectors(labels), table[4 + labels])
    assert not torch.equal(prompts.empty(found), found) and prompts.empty(found).shape == found.shape


def test_the_gradient_of_a_vector_is_its_own():
    with isolated(0, "prompts"):
        prompts = ClassPrompts(text_encoder(3, 16)).eval()
    vectors = torch.randn(3, 16, generator=seeded(), requires_grad=True)
    prompts(vectors)[1].square().sum().backward()
    assert vectors.grad is not None
    assert vectors.grad[1].abs().sum() > 0 and vectors.grad[[0, 2]].abs().sum() == 0


def test_codes_have_the_variance_one_within_classes(pictures):
    images, labels = pictures(300)
    codes = ImageCodes(3, 64, 16, components=4).fit(images, labels)
    found = codes(images, labels)
    torch.testing.assert_close(found.square().mean(0), torch.ones(4), rtol=1e-2, atol=0)
    for c in range(3):
        torch.testing.assert_close(found[labels == c].mean(0), torch.zeros(4), rtol=0, atol=1e-4)
    correlation = found.T @ found / len(found)
    torch.testing.assert_close(correlation, torch.eye(4), rtol=0, atol=1e-2)
    moves = codes.move(torch.randn(4000, 4, generator=seeded()))
    assert moves.std().item() == pytest.approx(0.02, rel=0.1)


# The model


def test_the_loss_is_the_error_of_v(nano, pictures):
    """With a network that says nothing, it is the mean square of v, which has variance 1 like codes and noise."""
    nano.unet.forward = lambda noised, times, conditions: type("Said", (), {"sample": torch.zeros_like(noised)})
    images, labels = pictures(300)
    losses = [nano.loss(images, labels, seeded(s)).item() for s in range(5)]
    assert np.mean(losses) == pytest.approx(1, rel=0.05)
    # One that knows the noised codes' noise and origin would say v; from it both can be had back.
    told = {}

    def spy(noised, times, conditions):
        told.update(noised=noised, times=times, conditions=conditions)
        return type("Said", (), {"sample": torch.zeros_like(noised)})

    nano.unet.forward = spy
    nano.loss(images, labels, seeded())
    assert told["times"].unique().numel() > 200, "times are spread over all"
    counts = torch.histc(told["times"].float(), 10, 0, 1000)
    assert counts.min() >= 29, "as many in each tenth"
    null = nano.prompts.empty(torch.zeros(1, 1))
    without = (told["conditions"] == null).flatten(1).all(1).float().mean()
    assert 0.03 < without < 0.2


def test_images_depend_on_their_seed_alone(nano):
    vectors = nano.prompts.vectors(torch.tensor([0, 1, 2]))
    whole = nano.sample(vectors, [1, 2, 3], steps=5)
    assert whole.shape == (3, 1, 8, 8) and whole.abs().max() <= 1
    assert torch.equal(whole, nano.sample(vectors, [1, 2, 3], steps=5))
    # Rounding may depend on the batch.
    torch.testing.assert_close(nano.sample(vectors[1:], [2, 3], steps=5), whole[1:], rtol=0, atol=1e-3)
    assert (nano.sample(vectors, [4, 5, 6], steps=5) - whole).abs().max() > 0.1


@pytest.mark.parametrize(("steps", "off"), [(10, 0.08), (20, 0.03), (40, 0.02)])
@pytest.mark.parametrize("deviation", [0.6, 0.4, 0.1])
def test_a_perfect_denoiser_gives_the_distribution_back(nano, deviation, steps, off):
    """For codes of the law N(m, s²) the best v is known in closed form, and so is what sampling must give."""
    mean = 0.3
    alphas = nano.noising.alphas_cumprod

    def best(noised, time, conditions):
        alpha, sigma = alphas[time].sqrt(), (1 - alphas[time]).sqrt()
        gain = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2)
        origin = mean + gain * (noised - alpha * mean)
        return type("Said", (), {"sample": (alpha * noised - origin) / sigma})

    nano.unet.forward = best
    vectors = nano.prompts.vectors(torch.zeros(400, dtype=torch.int64))
    codes = nano.codec.encode(nano.sample(vectors, range(400), steps=steps))
    assert codes.mean().item() == pytest.approx(mean, abs=0.02)
    assert codes.std().item() == pytest.approx(deviation, rel=off)


@pytest.mark.parametrize(("guidance", "passes"), [(1.0, 6), (2.0, 12), (0.0, 12)])
def test_evaluations_of_the_network(nano, guidance, passes):
    calls = []
    nano.unet.register_forward_hook(lambda *given: calls.append(1))
    nano.sample(nano.prompts.vectors(torch.tensor([0])), [1], steps=6, guidance=guidance)
    assert len(calls) == passes


def test_saved_and_loaded(nano, tmp_path, pictures):
    nano.save(tmp_path)
    again = DiffusionModel.load(tmp_path)
    vectors = nano.prompts.vectors(torch.tensor([0, 1]))
    assert torch.equal(again.sample(vectors, [1, 2], steps=3), nano.sample(vectors, [1, 2], steps=3))
    images, labels = pictures()
    assert torch.equal(again.loss(images, labels, seeded()), nano.loss(images, labels, seeded()))
    # Diffusers reads its parts.
    from diffusers import DDPMScheduler, UNet2DConditionModel

    assert UNet2DConditionModel.from_pretrained(tmp_path / "unet").config.in_channels == 4
    assert DDPMScheduler.from_pretrained(tmp_path / "scheduler").config.prediction_type == "v_prediction"
    with pytest.raises(OutskirtsError, match="holds no trained generator"):
        DiffusionModel.load(tmp_path / "unet")


def test_sides_that_do_not_divide():
    with pytest.raises(OutskirtsError, match=r"Images of 31 pixels do not divide into patches of 2, .* --size 30"):
        DiffusionModel("tiny", CLASSES, 1, 31)


@pytest.mark.parametrize("side", [6, 8, 10])
def test_sides_whose_halves_are_odd(nano, side, pictures):
    model = DiffusionModel("nano", CLASSES, 1, side).fit_codec(*pictures(side=side)).eval()
    assert model.sample(model.prompts.vectors(torch.tensor([0])), [1], steps=2).shape == (1, 1, side, side)
    assert model.loss(*pictures(side=side), seeded()).isfinite()


def test_guidance_takes_its_share_of_the_evaluations(nano, tmp_path, image_set, train):
    train(tmp_path / "model", epochs=1)
    part, calls = registry["diffusion"], []
    for guidance in (1.0, 2.0):
        generator = part(part.Config(model=str(tmp_path / "model"), network_evaluations=6, guidance=guidance))
        generator.fit(image_set(), Transform(8, 1), Path("unused"), lambda *state: None)
        generator.model.unet.register_forward_hook(lambda *given: calls.append(1))
        generator.sample(torch.tensor([0, 1]), torch.tensor([0, 0]), 0)
    assert len(calls) == 12


# Training


@pytest.fixture
def image_set(pictures):
    def image_set(count=48):
        images, labels = pictures(count)
        return ImageSet(((images[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy(), labels, CLASSES, spec="pictures")

    return image_set


CONFIG = TrainConfig(
    data="pictures",
    augment="none",
    epochs=30,
    batch_size=16,
    optimizer="adamw",
    lr=3e-3,
    ema=0.9,
    precision="fp32",
    device="cpu",
    warmup=0.1,
    weight_decay=0.0,
)


GREY = Transform(8, 1)


@pytest.fixture
def train(image_set):
    def train(folder, progress=lambda *state: None, codec=None, **options):
        from dataclasses import replace

        return train_model("nano", image_set(), GREY, replace(CONFIG, **options), folder, progress, codec)

    return train


def test_training_learns_the_classes(nano, tmp_path, image_set, train):
    model = train(tmp_path / "model", epochs=80)
    assert begun(tmp_path / "model")["fingerprint"] == image_set().fingerprint
    made = model.sample(model.prompts.vectors(torch.arange(30) % 3), range(30), steps=10)
    means = torch.stack([made[c::3].mean() for c in range(3)])
    # Classes are at -0.5, 0 and 0.5.
    assert means[0] < -0.2 and means[2] > 0.2 and means[0] < means[1] < means[2]
    # Finished, it is loaded; version 0.1 wrote empty texts and zeros for what was not given.
    about = load_json(tmp_path / "model" / "training.json")
    about |= {**dict.fromkeys(("val", "init", "tracker", "synthetic"), ""), "real_weight": -1.0, "outlier_batch": 0}
    save_json(tmp_path / "model" / "training.json", about)
    again = train(tmp_path / "model", lambda *state: pytest.fail("trained anew"), epochs=80)
    vectors = model.prompts.vectors(torch.tensor([1]))
    assert torch.equal(again.sample(vectors, [3], steps=3), model.sample(vectors, [3], steps=3))
    with pytest.raises(OutskirtsError, match=r"was begun with the lr 0\.003, not 0\.1"):
        train(tmp_path / "model", lr=0.1, epochs=80)


@pytest.mark.parametrize("coded", [False, True])
def test_a_stopped_training_ends_as_a_whole_one(nano, autoencoder, tmp_path, coded, train):
    import os
    import signal

    codec = str(autoencoder) if coded else None
    whole = train(tmp_path / "whole", epochs=2, codec=codec)

    def stop(step, steps, latest):
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="Stopped after step 4 of 6; continue with: the same command"):
        train(tmp_path / "stopped", stop, epochs=2, codec=codec)
    assert not (tmp_path / "stopped" / "generator.json").exists()
    again = train(tmp_path / "stopped", epochs=2, codec=codec)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert load_json(tmp_path / "whole" / "training.json")["codec"] == (codec or "")
    losses = [load_json(tmp_path / name / "training.json")["lr"] for name in ("whole", "stopped")]
    assert losses[0] == losses[1]


def test_a_training_goes_on_in_the_precision_it_was_begun_in(nano, tmp_path, monkeypatch, train):
    from outskirts.generation.diffusion import training

    def stop(step, steps, latest):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "faster_precision", lambda device: "bf16")
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        train(tmp_path / "model", stop, epochs=1, precision="auto")
    monkeypatch.setattr(training, "faster_precision", lambda device: "fp32")
    train(tmp_path / "model", epochs=1, precision="auto")
    assert begun(tmp_path / "model")["precision"] == "bf16"
    with pytest.raises(OutskirtsError, match="precision bf16, not fp32"):
        train(tmp_path / "model", epochs=1, precision="fp32")


def test_a_trained_generator_is_used_again(nano, tmp_path, image_set, train):
    train(tmp_path / "model", epochs=1)
    part = registry["diffusion"]

    def fitted(images=None, side=8):
        generator = part(part.Config(model=str(tmp_path / "model"), network_evaluations=3))
        return generator.fit(images or image_set(), Transform(side, 1), Path("unused"), lambda *state: None)

    labels = torch.tensor([0, 1, 2])
    one, two = (fitted().sample(labels, torch.tensor([7, 8, 9]), 0) for _ in range(2))
    assert one.dtype == torch.uint8 and one.shape == (3, 1, 8, 8) and torch.equal(one, two)
    learned = fitted().learned()
    assert learned["training"]["fingerprint"] == image_set().fingerprint and learned["training"]["epochs"] == 1
    assert {name.partition("/")[0] for name in learned["weights"]} >= {"unet", "text_encoder", "vae"}
    file = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert learned["weights"][file.relative_to(tmp_path / "model").as_posix()] == sha256(file.read_bytes()).hexdigest()
    with pytest.raises(OutskirtsError, match="has seen other images"):
        fitted(image_set(24))
    with pytest.raises(OutskirtsError, match="makes images of 8 pixels"):
        fitted(side=16)


def test_a_trained_generator_is_trained_further_on_more_images(nano, tmp_path, pictures):
    from dataclasses import replace

    shown, labels = pictures(60)
    np.savez(tmp_path / "all.npz", images=((shown[:, 0] + 1) * 127.5).round().byte().numpy(), labels=labels.numpy())

    def train_part(name, part, progress=lambda *state: None, network="nano", side=8, **options):
        images = open_images(f"npz:{tmp_path}/all.npz?part={part}")
        config = replace(CONFIG, data=images.spec, **{"epochs": 1, **options})
        return train_model(network, images, Transform(side, 1), config, tmp_path / name, progress)

    first = train_part("first", "0-20%", epochs=3)
    init = str(tmp_path / "first")
    steps = []
    further = train_part("further", "0-40%", lambda step, *state: steps.append(step), init=init, lr=1e-9)
    # It begins where the other ended, in its codes, which are not fitted anew.
    assert steps
    for name, value in first.state_dict().items():
        assert torch.allclose(value.float(), further.state_dict()[name].float(), atol=1e-6), name
    # Of this one it is known what it has seen, since it has seen all that the other has.
    train_part("furthest", "0-60%", init=str(tmp_path / "further"))
    for part in ("10-40%", "0-10%"):
        with pytest.raises(OutskirtsError, match="may have seen images that are not among npz:"):
            train_part("other", part, init=init)
    with pytest.raises(OutskirtsError, match="has the size nano, not tiny"):
        train_part("other", "0-20%", init=init, network="tiny")
    with pytest.raises(OutskirtsError, match="makes images of 8 pixels and 1 channels, not of 16 and 1"):
        train_part("other", "0-20%", init=init, side=16)
    with pytest.raises(OutskirtsError, match="leave out --model and --codec"):
        registry["diffusion"].Config(init=init, codec="somewhere")


def test_all_files_of_a_model_have_the_same_usual_mode(nano, tmp_path):
    nano.save(tmp_path / "model")
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "model").rglob("*") if path.is_file()} == {usual}
