import math

import pytest
import torch
from torch.nn.functional import normalize

import outskirts as osk
from outskirts.data.loading.batches import Batch
from outskirts.data.sources.token_set import write_tokens
from outskirts.errors import OutskirtsError
from outskirts.methods.averages import classification
from outskirts.methods.logitnorm import logit_norm
from outskirts.methods.npos_clip import NPOSCLIP, NPOSCLIPConfig
from outskirts.models.classifier import Classifier
from outskirts.models.clip import clip_backbone, text_prototypes
from outskirts.seeding import isolated
from outskirts.testing import check_method
from outskirts.training.config import resolve_recipe

SMALL = {"queue": 8, "k": 2, "boundary": 4, "picks": 2, "candidates": 6, "keep": 3, "start": 0.0}


@pytest.fixture
def method(clip_folder):
    """Makes the method on the small CLIP, ready to be trained."""

    def method(**options):
        backbone = clip_backbone(f"clip:{clip_folder}")
        config = NPOSCLIPConfig(**{**SMALL, **options})
        with isolated(0, "head"):
            head = NPOSCLIP.head(config, backbone.dim, 3)
        made = NPOSCLIP(config, Classifier(backbone, head, backbone.transform, ["ant", "bee", "house_fly"]))
        made.setup()
        return made.train()

    return method


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    return Batch((torch.randn(24, 3, 32, 32, generator=g),), torch.arange(24) % 3, epoch=1, epochs=2, generator=g)


def test_vector_t6():
    logits, labels = torch.tensor([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]], dtype=torch.float64), torch.tensor([1, 0])
    for temperature, expected in ((8, 1.0922117572), (1, 1.0758069293), (0.04, 4.5166578824)):
        assert classification(logit_norm(logits, temperature), labels).item() == pytest.approx(expected, abs=1e-7)


def test_logit_norm_at_eight_is_almost_flat():
    best = torch.eye(100)[:1] * 1e3 - 1e3 / 99
    assert classification(logit_norm(torch.zeros(1, 100), 8), torch.tensor([0])).item() == pytest.approx(math.log(100))
    assert classification(logit_norm(best, 8), torch.tensor([0])).item() == pytest.approx(4.481, abs=1e-3)


def test_logits_are_cosines_to_the_class_names(method, clip_folder, batch):
    made = method(temperature=0.05, templates="photo").eval()
    texts = text_prototypes(clip_folder, ["ant", "bee", "house_fly"], "photo")
    with torch.no_grad():
        features = made.classifier.features(batch.images)
        expected = normalize(features, dim=1) @ texts.T / 0.05
        assert torch.allclose(made.classifier(batch.images), expected, atol=1e-4)
        assert torch.allclose(made.classifier(batch.images[:1]), expected[:1], atol=1e-4)


def test_a_step(method, batch):
    made = method()
    scalars = made(batch)
    scalars["loss"].backward()
    trained = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert not any(".trunk." in name for name in trained)
    for part in ("backbone.blocks", "backbone.norm", "backbone.projection", "head.ood_head"):
        assert any(name.startswith(f"classifier.{part}") for name in trained)
    assert (made.queue.filled == 8).all() and scalars["ready"] == 1
    assert made.lr_factor("classifier.head.ood_head.network.0.weight") == 0.1
    assert made.lr_factor("classifier.backbone.projection.weight") == 1


def test_outliers_lie_about_the_latest_embeddings(method, batch):
    made = method(sigma=0.0)
    with torch.no_grad():
        features = made.classifier.features(batch.images)
    assert made.outliers(batch) is None
    made.fill_queue(features, batch.labels)
    outliers = made.outliers(batch)
    assert outliers.values.shape == (3 * 2 * 3, 16)
    # Without noise they are embeddings, at their own length.
    distance = torch.cdist(outliers.values, features)
    assert (distance.amin(1) < 1e-4 * features.norm(dim=1).mean()).all()
    assert torch.equal(batch.labels[distance.argmin(1)], outliers.labels)
    raw = method(sigma=0.0, space="raw")
    raw.fill_queue(features, batch.labels)
    assert torch.cdist(raw.outliers(batch).values, features).amin(1).max() < 1e-4


def test_outliers_begin_at_the_start(method, batch):
    made = method(start=0.5)
    scalars = made(batch)
    assert (scalars["ready"], scalars["loss_outlier"]) == (0, 0)
    assert scalars["loss"] == scalars["loss_id"]
    later = made(Batch(batch.views, batch.labels, 2, 2, batch.generator))
    assert later["ready"] == 1 and later["loss_outlier"] > 0 and later.keys() == scalars.keys()
    assert later["loss"].item() == pytest.approx((later["loss_id"] + 0.1 * later["loss_outlier"]).item(), rel=1e-5)


def test_losses_differ_as_told(method, batch):
    ce, norm = method(start=1.0)(batch), method(start=1.0, id_loss="logitnorm")(batch)
    assert abs(norm["loss"].item() - math.log(3)) < 0.1 < abs(ce["loss"].item() - math.log(3))
    balanced, pooled, quirks = (
        method(**options)(batch)["loss_outlier"].item()
        for options in ({}, {"reduction": "pooled"}, {"reference_quirks": True})
    )
    assert pooled < balanced and quirks < balanced


@pytest.mark.parametrize("options", [{}, {**SMALL}, {**SMALL, "id_loss": "logitnorm"}], ids=["default", "ce", "norm"])
def test_contract(options):
    check_method("npos-clip", NPOSCLIPConfig(**options))


def test_the_presets_are_published():
    published = resolve_recipe("npos-clip", {}, "imagenet100")
    assert (published.settings.k, published.settings.picks, published.settings.id_loss) == (400, 3, "logitnorm")
    assert (published.training.epochs, published.training.batch_size, published.training.lr) == (20, 800, 0.1)
    assert resolve_recipe("npos-clip", {}, "imagenet1k").settings.picks == 1
    assert resolve_recipe("npos-clip", {}, "zero-shot").training.epochs == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"templates": "a photo"}, "must have one"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"logitnorm_temperature": -1.0}, "logitnorm_temperature must be a number above 0"),
        ({"start": 2.0}, "start must be a number from 0 to 1"),
    ],
)
def test_bad_options(options, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        NPOSCLIPConfig(**options)


# Whole trainings

TRAINING = {**SMALL, "batch_size": 8, "lr": 0.01, "precision": "fp32", "device": "cpu", "augment": "none"}


def test_from_tokens_or_from_images_it_is_the_same_training(bugs, clip_folder, tmp_path):
    backbone = clip_backbone(f"clip:{clip_folder}")
    for name in ("train", "test"):
        images = osk.open(bugs / name)
        write_tokens(backbone.network.tokens, backbone.transform, images, tmp_path / name, shard=16)
    options = {**TRAINING, "backbone": f"clip:{clip_folder}", "epochs": 2}
    direct = osk.train("npos-clip", bugs / "train", bugs / "test", out=tmp_path / "direct", **options)
    cached = osk.train(
        "npos-clip", f"tokens:{tmp_path / 'train'}", f"tokens:{tmp_path / 'test'}", out=tmp_path / "cached", **options
    )
    losses = [[record["loss"] for record in run.records() if record["kind"] == "train"] for run in (direct, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    images = osk.open(bugs / "test")
    one, two = (osk.extract(osk.load(run.path), images).features for run in (direct, cached))
    assert (one - two).norm() < 0.02 * one.norm()


def test_a_run_needs_its_folder_no_longer(bugs, clip_folder, tmp_path):
    import shutil

    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    options = {**TRAINING, "backbone": f"clip:{folder}?frozen=3", "epochs": 1}
    run = osk.train("npos-clip", bugs / "train", bugs / "test", out=tmp_path / "run", **options)
    shutil.rmtree(folder)
    classifier = osk.load(run.path)
    assert classifier.backbone.frozen == 3 and classifier.transform.trunk.startswith("3 blocks of ")
    prototypes = text_prototypes(clip_folder, ["ant", "bee"])
    assert torch.allclose(classifier.head.prototypes, prototypes)
    outputs = osk.extract(classifier, osk.open(bugs / "test"))
    assert outputs.accuracy == [r["accuracy"] for r in run.records() if r["kind"] == "val"][-1]
    assert {"cosines", "ood_head"} <= outputs.extra.keys()


def test_zero_shot_is_no_training(bugs, clip_folder, tmp_path):
    run = osk.train(
        "npos-clip", bugs / "train", bugs / "test", out=tmp_path / "run", preset="zero-shot",
        backbone=f"clip:{clip_folder}", device="cpu", precision="fp32",
    )  # fmt: skip
    assert [record["kind"] for record in run.records()] == ["data", "val"]
    classifier, untrained = osk.load(run.path), clip_backbone(f"clip:{clip_folder}").network
    for name, value in untrained.state_dict().items():
        assert torch.equal(classifier.backbone.state_dict()[name], value)
    assert torch.allclose(classifier.head.prototypes, text_prototypes(clip_folder, ["ant", "bee"], "photo"))


def test_other_networks_are_refused(bugs, tmp_path):
    with pytest.raises(OutskirtsError, match="'npos-clip' trains CLIP models; pass --backbone clip:DIR"):
        osk.train("npos-clip", bugs / "train", out=tmp_path / "run", **TRAINING)
    assert not (tmp_path / "run").exists()


def test_a_linear_head_on_clip(bugs, clip_folder, tmp_path):
    """Any method trains a CLIP backbone: the baselines."""
    options = {"backbone": f"clip:{clip_folder}", "epochs": 1, "batch_size": 8, "device": "cpu", "precision": "fp32"}
    run = osk.train("ce", bugs / "train", bugs / "test", out=tmp_path / "run", lr=0.01, **options)
    outputs = osk.extract(osk.load(run.path), osk.open(bugs / "test"))
    assert outputs.features.shape == (20, 16) and outputs.head is not None
