from dataclasses import fields

import pytest

from outskirts import OutskirtsError
from outskirts.methods import registry
from outskirts.training.config import TrainConfig, resolve_recipe


def test_options_find_their_place():
    recipe = resolve_recipe("ascood", {"epochs": 3, "p_inv": 0.2})
    assert recipe.training.epochs == 3
    assert recipe.settings.p_inv == 0.2
    assert recipe.flat()["method"] == "ascood"


def test_options_go_over_the_preset():
    recipe = resolve_recipe("ascood", {"epochs": 3}, "cifar100")
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 128)
    assert recipe.settings.outlier_weight == 5.0


@pytest.mark.parametrize("method", registry.names())
def test_every_preset_is_valid(method):
    for preset in registry[method].presets:
        resolve_recipe(method, {}, preset)


@pytest.mark.parametrize("method", registry.names())
def test_no_method_takes_a_name_of_the_training(method):
    assert not {f.name for f in fields(TrainConfig)} & {f.name for f in fields(registry[method].Config)}


@pytest.mark.parametrize(
    ("method", "options", "preset", "sentence"),
    [
        ("ascod", {}, "", "no method 'ascod'; did you mean 'ascood'"),
        ("ce", {"epoch": 3}, "", "no option 'epoch' of the method 'ce'; did you mean 'epochs'"),
        ("ce", {"p_inv": 0.1}, "", "no option 'p_inv' of the method 'ce'"),
        ("ascood", {}, "cifar11", "did you mean 'cifar10"),
        ("ce", {"optimizer": "adam"}, "", "no optimizer 'adam'; did you mean 'adamw'"),
        ("ce", {"precision": "fp16"}, "", "no precision 'fp16'"),
        ("ascood", {"outliers": "gradients"}, "", "no outliers 'gradients'; did you mean 'gradient'"),
        ("ce", {"epochs": "ten"}, "", "option epochs must be a whole number, not 'ten'"),
        ("ce", {"epochs": 1.5}, "", "option epochs must be a whole number, not 1.5"),
        ("ce", {"epochs": True}, "", "option epochs must be a whole number, not True"),
        ("ce", {"lr": "fast"}, "", "option lr must be a number, not 'fast'"),
        ("ce", {"lr": False}, "", "option lr must be a number, not False"),
        ("ce", {"skip_corrupt": "no"}, "", "option skip_corrupt must be true or false, not 'no'"),
        ("ce", {"pretrained": True}, "", "option pretrained must be a text"),
        ("ce", {"lr": float("nan")}, "", "lr must be a number above 0"),
        ("ce", {"lr": 0}, "", "lr must be a number above 0"),
        ("ce", {"momentum": 1.0}, "", "momentum must be a number from 0 to below 1"),
        ("ce", {"weight_decay": -1.0}, "", "weight_decay must be a number of at least 0"),
        ("ce", {"clip_norm": -1.0}, "", "clip_norm must be a number above 0"),
        ("ce", {"warmup": 1.0}, "", "warmup must be a number from 0 to below 1"),
        ("ce", {"ema": 1.0}, "", "ema must be a number from 0 to below 1"),
        ("ce", {"val_fraction": 0.0}, "", "val_fraction must be a number between 0 and 1"),
        ("ce", {"label_smoothing": 1.5}, "", "label_smoothing must be a number from 0 to 1, not 1.5"),
        ("ascood", {"label_smoothing": -0.1}, "", "label_smoothing must be a number from 0 to 1"),
        ("ascood", {"p_inv": 2.0}, "", "p_inv must be a number from 0 to 1 or None, not 2.0"),
        ("ce", {"batch_size": 0}, "", "batch_size must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_told(method, options, preset, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        resolve_recipe(method, options, preset)


def test_numbers_as_yaml_reads_them():
    assert resolve_recipe("ce", {"lr": "1e-3", "weight_decay": 0}).training.lr == 1e-3


def test_paths_are_texts(tmp_path):
    assert resolve_recipe("ce", {"pretrained": tmp_path}).training.pretrained == str(tmp_path)
