"""Trainings that begin with trained weights: their recipe, and what is said of one that goes wrong."""

import math

import pytest
import torch
from torch import Tensor, nn

import outskirts as osk
from outskirts.commands.train import _recipe
from outskirts.data.imageset import ImageSet
from outskirts.methods import registry
from outskirts.training.concerns import Validated, concern, guesses
from outskirts.training.config import resolve_recipe
from outskirts.training.fine_tuning import FINE_TUNING
from outskirts.training.merging import merged_recipe


def of(recipe):
    return {name: getattr(recipe.training, name) for name in FINE_TUNING}


USUAL = of(resolve_recipe("ce", {}))


@pytest.mark.parametrize("method", registry.names())
@pytest.mark.parametrize(
    "options", [{"pretrained": "true"}, {"init": "runs/ce"}, {"init": "timm:resnet50"}, {"backbone": "clip:folder"}]
)
def test_trained_weights_bring_their_recipe(method, options):
    assert of(resolve_recipe(method, options)) == dict(FINE_TUNING) != USUAL


def test_random_weights_keep_theirs():
    assert of(resolve_recipe("ce", {"pretrained": None, "init": None, "backbone": "resnet18-cifar"})) == USUAL


def test_what_is_given_goes_over_it(tmp_path):
    assert resolve_recipe("ce", {"pretrained": "true", "lr": 0.3}).training.lr == 0.3
    assert resolve_recipe("ce", {"pretrained": "true"}, usual={"lr": 0.3}).training.lr == 0.3
    file = tmp_path / "options.yaml"
    file.write_text("method: ce\ndata: cifar10:train\nlr: 0.3\n")
    assert of(merged_recipe(None, {"pretrained": "true"}, config=file)) == {**FINE_TUNING, "lr": 0.3}


@pytest.mark.parametrize("method", registry.names())
def test_presets_are_what_they_were(method):
    for name, preset in registry[method].presets.items():
        assert of(resolve_recipe(method, {}, name)) == {**USUAL, **{k: preset[k] for k in USUAL.keys() & preset.keys()}}


def test_a_printed_command_repeats_a_rate_that_is_not_of_the_recipe():
    for lr in (0.3, 0.02):
        recipe = resolve_recipe("ce", {"data": "cifar10:train", "pretrained": "true", "lr": lr})
        again, _ = _recipe(recipe.command()[2:])
        assert again == recipe


@pytest.mark.parametrize("flags", [["--pretrained", "true"], ["--init=runs/ce"], ["--backbone", "clip:folder"]])
def test_the_command_line_has_it_too(flags):
    assert of(_recipe(["ce", "--data", "x", *flags])[0]) == dict(FINE_TUNING)
    assert of(_recipe(["ce", "--data", "x", *flags, "--lr", "0.3"])[0]) == {**FINE_TUNING, "lr": 0.3}
    assert of(_recipe(["ce", "--data", "x", "--pretrained", "None"])[0]) == USUAL


@pytest.fixture
def images():
    """Forty images of noise in each of four classes, which differ in their brightness."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 64, (160, 8, 8, 3), generator=draws)
    labels = torch.arange(4).repeat(40)
    return ImageSet((noise + 48 * labels.view(-1, 1, 1, 1)).byte().numpy(), labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


def trained(images, folder, **options):
    said = []
    run = osk.train(
        "ce",
        images,
        out=folder,
        model=network(),
        augment="none",
        val_fraction=0.25,
        batch_size=20,
        precision="fp32",
        device="cpu",
        progress=lambda step, steps, latest: said.append((step / steps, latest.get("warning", ""))),
        **options,
    )
    return run, [(share, text) for share, text in said if text]


def test_a_network_of_ones_own_is_fine_tuned(images, tmp_path):
    run, _ = trained(images, tmp_path / "run", epochs=1)
    assert run.recipe().training.lr == FINE_TUNING["lr"]


def test_nothing_is_said_of_a_training_that_learns(images, tmp_path):
    run, said = trained(images, tmp_path / "run", epochs=6, lr=0.3)
    assert [record for record in run.records() if record["kind"] == "val"][-1]["accuracy"] > 0.9
    assert said == []


@pytest.mark.parametrize("lr", [3.0, 6.0])
def test_a_training_that_diverges_says_so_while_it_runs(images, tmp_path, lr):
    _, said = trained(images, tmp_path / "run", epochs=6, lr=lr)
    share, text = said[0]
    # Which of the two comes first hangs on how numbers are rounded.
    assert share == 1 / 6 and text.startswith(("The loss has risen from", "The validation loss is")) and "--lr" in text


def test_a_loss_far_above_that_of_guessing_is_a_sign_of_divergence():
    def said(loss, classes):
        even = torch.ones(classes)
        return concern(0.1, Validated(loss, even, even, even), ["a"] * classes, even, False)

    # Twice that of equal probabilities, and two above it.
    assert said(4.7, 10).startswith("The validation loss is 4.7, and equal probabilities would give 2.3.")
    assert said(4.5, 10) == "" and said(2.6, 2) == "" and said(2.8, 2)


def test_a_training_that_stays_at_chance_says_so(images, tmp_path):
    run, said = trained(images, tmp_path / "run", epochs=5, lr=1e-9)
    texts = [record.get("warning", "") for record in run.records() if record["kind"] == "val"]
    # In the first fifth of the steps, it is too early to say.
    assert [text.startswith("The network is no better than guessing") for text in texts] == [True] * 5
    assert said[0][0] == 0.2


def test_guessing_is_told_from_knowing_a_little():
    shown = torch.tensor([50.0, 100.0, 0.0])
    chance = 1 / 3
    # The deviation of the balanced accuracy of one who guesses, by drawing.
    draws = torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.rand(20_000, n, generator=draws).lt(chance).float().mean(1) for n in (50, 100)]).mean(0)
    edge = chance + 2 * float(drawn.std())

    def said(accuracy):
        return guesses(Validated(1.0, shown, accuracy * shown, shown))

    assert said(edge - 0.003) and not said(edge + 0.003)
    assert math.isclose(edge, chance + 2 * math.sqrt(2 / 9 * (1 / 50 + 1 / 100)) / 2, rel_tol=0.02)


def test_small_classes_explain_what_else_would_be_guessing():
    found = Validated(0.7, Tensor([50, 50]), Tensor([50, 0]), Tensor([100, 0]))
    small, even = Tensor([300, 15]), Tensor([300, 300])
    assert concern(0.4, found, ["a", "b"], small, False) == ""
    assert "never predicts" in concern(0.5, found, ["a", "b"], small, False)
    assert "no better than guessing" in concern(0.2, found, ["a", "b"], even, False)
    assert concern(0.19, found, ["a", "b"], even, False) == ""
