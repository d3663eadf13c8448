"""Which weights and statistics a training of some layers changes."""

import pytest
import torch

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.loading.batches import Batch
from outskirts.data.transform import Transform
from outskirts.files import load_tensors
from outskirts.methods import registry
from outskirts.models.backbones import build_backbone
from outskirts.models.classifier import Classifier
from outskirts.seeding import isolated
from outskirts.training.config import TrainConfig
from outskirts.training.freeze import freeze, training
from outskirts.training.optimizers import optimizer_for


def method_on(backbone, size=16):
    with isolated(0):
        kind, network = registry["ce"], build_backbone(backbone, 3, size)
        head = kind.head(kind.Config(), network.dim, 2)
        return kind(kind.Config(), Classifier(network, head, Transform(size), "ab"))


def changed_by_a_step(method, config):
    """Names of the weights and statistics that one step changes."""
    freeze(method.classifier, config.train_layers)
    training(method, config)
    before = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    g, size = torch.Generator().manual_seed(0), method.classifier.transform.size
    images = torch.randn(4, 3, size, size, generator=g)
    method(Batch((images,), torch.tensor([0, 1, 0, 1]), 1, 1, g))["loss"].backward()
    optimizer_for(method, config).step()
    return {name for name, value in method.classifier.state_dict().items() if not torch.equal(value, before[name])}


def statistics(names):
    return {name for name in names if name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")}


def test_only_the_layer_and_the_head_change_in_a_resnet():
    method = method_on("resnet18-cifar", size=8)
    changed = changed_by_a_step(method, TrainConfig(train_layers="layer4", lr=0.1))
    trained = {name for name in method.classifier.state_dict() if name.startswith(("backbone.layer4.", "head."))}
    assert changed == trained


def test_followed_statistics_of_frozen_layers_change():
    config = TrainConfig(train_layers="blocks.2", frozen_batchnorm="tracking", lr=0.1)
    changed = changed_by_a_step(method_on("fast"), config)
    frozen = {name for name in changed if not name.startswith(("backbone.blocks.2.", "head."))}
    assert frozen == statistics(frozen)
    assert {"backbone.stem.norm.running_mean", "backbone.blocks.0.norm1.running_var"} <= frozen


@pytest.mark.parametrize("mode", ["fixed", "tracking"])
@pytest.mark.parametrize("layers", ["", " , "])
def test_nothing_is_frozen_unless_asked_for(mode, layers):
    method = method_on("fast")
    changed = changed_by_a_step(method, TrainConfig(train_layers=layers, frozen_batchnorm=mode, lr=0.1))
    assert changed == set(method.classifier.state_dict())


def test_several_layers_and_their_parts():
    changed = changed_by_a_step(method_on("fast"), TrainConfig(train_layers="blocks.0.refine, blocks.2", lr=0.1))
    others = {name for name in changed if not name.startswith(("backbone.blocks.2.", "head."))}
    assert others == {"backbone.blocks.0.refine.weight"}


def test_a_name_is_not_the_beginning_of_another():
    method = method_on("fast")
    backbone = method.classifier.backbone
    backbone.blocks2 = torch.nn.BatchNorm1d(2)
    freeze(method.classifier, "blocks")
    training(method, TrainConfig(train_layers="blocks"))
    assert backbone.blocks[0].norm1.training and backbone.blocks[0].norm1.weight.requires_grad
    assert not backbone.blocks2.training and not backbone.blocks2.weight.requires_grad


def test_what_is_no_normalisation_trains_on():
    method = method_on("fast")
    method.classifier.backbone.drop = torch.nn.Dropout(0.5)
    training(method.eval(), TrainConfig(train_layers="blocks.2"))
    assert method.classifier.backbone.drop.training and method.classifier.head.training and method.training


def test_an_unknown_layer_names_the_nearest():
    with pytest.raises(OutskirtsError, match=r"no layer of the backbone 'blocks\.3'; did you mean 'blocks"):
        freeze(method_on("fast").classifier, "blocks.3")


def differing(one, other):
    one, other = (load_tensors(run.model)[0] for run in (one, other))
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("mode", ["fixed", "tracking"])
def test_a_run_trains_the_layers_it_names(bugs, small, tmp_path, mode):
    begun = osk.train("ce", bugs / "train", out=tmp_path / "begun", **{**small, "epochs": 0})
    options = {**small, "train_layers": "blocks.2", "frozen_batchnorm": mode}
    run = osk.train("ce", bugs / "train", out=tmp_path / "run", **options)
    changed = differing(begun, run)
    assert {"backbone.blocks.2.widen.weight", "head.linear.weight"} <= changed
    frozen = {name for name in changed if not name.startswith(("backbone.blocks.2.", "head."))}
    if mode == "fixed":
        assert not frozen
    else:
        assert frozen == statistics(frozen) and "backbone.stem.norm.running_mean" in frozen


def test_statistics_stay_fixed_after_a_validation(bugs, small, tmp_path):
    """Validation puts the method in evaluation mode and back."""
    one, other = (
        osk.train("ce", bugs / "train", out=tmp_path / str(every), train_layers="blocks.2", val_every=every, **small)
        for every in (1, 9)
    )
    assert not differing(one, other)


def test_an_unknown_layer_leaves_no_run(bugs, small, tmp_path):
    with pytest.raises(OutskirtsError, match="no layer of the backbone 'layer4'"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", train_layers="layer4", **small)
    assert not (tmp_path / "run").exists()
