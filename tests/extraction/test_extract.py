"""One pass over each image, kept under an address that cannot be another's."""

import shutil
import threading
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from torch import nn

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.files import save_tensors
from outskirts.models.classifier import Backbone, Classifier
from outskirts.models.fast import FastNet
from outskirts.models.heads import PrototypeHead
from outskirts.models.ood_head import FeatureOODHead
from outskirts.seeding import isolated


@pytest.fixture(scope="module")
def classifier(finished):
    return osk.load(finished)


@pytest.fixture
def sphere():
    """A classifier with prototypes, untrained."""
    with isolated(0, "sphere"):
        backbone = Backbone(FastNet(3, 16, (6, 6, 6)), 6, "fast")
        head = PrototypeHead(nn.Linear(6, 4), 2, 4, temperature=0.1)
    return Classifier(backbone, head, Transform(16), ["ant", "bee"])


@pytest.fixture
def images(bugs):
    return osk.open(bugs / "test")


@dataclass(frozen=True)
class Brightness:
    """A probe that counts its calls."""

    calls: list
    key: str = "brightness"

    def __call__(self, classifier, images):
        self.calls.append(len(images))
        return images.mean((1, 2, 3))


@pytest.fixture
def passes(classifier, images, tmp_path):
    """Extracts with a store; returns the outputs and the number of images that were forwarded."""

    def extract(image_set=images, model=classifier, **options):
        forwarded = []
        outputs = osk.extract(
            model, image_set, store=tmp_path / "store", progress=lambda done, total: forwarded.append(done), **options
        )
        return outputs, max(forwarded, default=0)

    return extract


def test_labels_are_places_among_the_classes_of_the_classifier(classifier, bugs, tmp_path):
    bees = osk.open(f"folder:{bugs / 'test'}?classes=bee")
    assert bees.labels.unique().tolist() == [0]
    for _ in range(2):
        assert osk.extract(classifier, bees, store=tmp_path).labels.tolist() == [1] * 10
    flies = osk.ImageSet(sorted((bugs / "test" / "bee").iterdir()), torch.zeros(10), ["fly"])
    assert osk.extract(classifier, flies, store=tmp_path).labels.tolist() == [-1] * 10


def test_without_names_labels_are_those_of_images_of_as_many_classes(classifier, images):
    bare = Classifier(
        Backbone(classifier.backbone, classifier.dim, ""),
        classifier.head,
        classifier.transform,
        ["0", "1"],
        named=False,
    )
    assert torch.equal(osk.extract(bare, images).labels, images.labels)
    assert osk.extract(bare, images.select_classes(["bee"])).labels.tolist() == [-1] * 10


def test_outputs_are_those_of_a_naive_loop(classifier, images):
    outputs = osk.extract(classifier, images)
    assert outputs.labels.tolist() == [0] * 10 + [1] * 10
    for i in range(len(images)):
        pixels = classifier.transform.host(images[i][0])
        with torch.no_grad():
            x = classifier.transform.device(pixels[None])
            features = classifier.head.inputs(classifier.features(x))
            logits = classifier(x)
        torch.testing.assert_close(outputs.features[i : i + 1], features, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(outputs.logits[i : i + 1], logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("corrupt", [(), (4, 5, 13)])
def test_they_are_bit_equal_to_one_image_after_the_other(classifier, images, corrupt):
    """Each image decoded and normalised alone, in the same batches."""
    transform = classifier.transform
    alone = [transform.device(transform.host(images.image(i))[None])[0] for i in range(20) if i not in corrupt]
    items = [b"no image" if i in corrupt else item for i, item in enumerate(images.items)]
    holed = osk.ImageSet(items, images.labels, images.classes, "holed")
    outputs = osk.extract(classifier, holed, batch_size=6, features="raw", skip_corrupt=bool(corrupt))
    for start in range(0, len(alone), 6):
        batch = torch.stack(alone[start : start + 6]).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            features = classifier.features(batch)
            logits = classifier.head(features)
        assert torch.equal(outputs.features[start : start + 6], features)
        assert torch.equal(outputs.logits[start : start + 6], logits)
    assert outputs.labels.tolist() == [int(images.labels[i]) for i in range(20) if i not in corrupt]
    assert holed.skipped == [f"row {i} of holed" for i in corrupt]


@pytest.mark.parametrize("batch_size", [1, 7, 20])
def test_the_batch_size_does_not_matter(classifier, images, batch_size):
    one, other = osk.extract(classifier, images), osk.extract(classifier, images, batch_size=batch_size)
    torch.testing.assert_close(one.features, other.features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=1e-5)


def test_logits_are_the_head_of_the_features(classifier, images):
    outputs = osk.extract(classifier, images)
    logits = outputs.features @ outputs.head.weight.T + outputs.head.bias
    torch.testing.assert_close(logits, outputs.logits, atol=1e-5, rtol=1e-4)


def test_raw_features_are_those_of_the_backbone(classifier, images, passes):
    head, _ = passes()
    raw, forwarded = passes(features="raw")
    assert forwarded == 0
    assert not torch.allclose(raw.features, head.features)
    torch.testing.assert_close(classifier.head.inputs(raw.features), head.features)
    assert torch.equal(raw.logits, head.logits)


def test_projections_are_points_of_the_sphere_that_prototypes_explain(images, passes, sphere):
    features, _ = passes(model=sphere)
    assert features.head is None and features.features.shape == (20, 6)
    points, forwarded = passes(model=sphere, features="projection")
    assert forwarded == 0, "the store serves every space"
    assert points.features.shape == (20, 4)
    torch.testing.assert_close(points.features.norm(dim=1), torch.ones(20))
    logits = points.features @ points.head.weight.T + points.head.bias
    torch.testing.assert_close(logits, points.logits, atol=1e-4, rtol=1e-4)


def test_a_projection_is_refused_where_there_is_none(passes):
    with pytest.raises(OutskirtsError, match="has no projection"):
        passes(features="projection")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_risk_of_a_classifier_comes_with_its_outputs(images, passes, sphere, precision):
    sphere.head.ood_head = FeatureOODHead(6)
    for features in ("head", "raw", "projection"):
        outputs, _ = passes(model=sphere, features=features, precision=precision)
        raw = passes(model=sphere, features="raw", precision=precision)[0].features
        with torch.no_grad():
            torch.testing.assert_close(outputs.extra["ood_head"], sphere.head.ood_head(raw, raw))
    assert outputs.extra["ood_head"].shape == (20,) and outputs.extra["ood_head"].dtype == torch.float32


def test_classifiers_without_a_risk_have_no_such_column(passes):
    assert "ood_head" not in passes()[0].extra


def test_a_second_time_nothing_is_forwarded(passes, bugs, tmp_path):
    first, forwarded = passes()
    assert forwarded == 20
    second, forwarded = passes()
    assert forwarded == 0
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.head.weight, second.head.weight)
    # The same images elsewhere are the same images.
    copied = shutil.copytree(bugs / "test", tmp_path / "copied")
    assert passes(osk.open(copied))[1] == 0


def test_freed_memory_is_kept_where_there_is_something_to_forward(passes, monkeypatch):
    called = []
    monkeypatch.setattr("outskirts.extraction.forward.keep_freed_memory", lambda: called.append(1))
    for _ in range(2):
        passes()
    assert called == [1]


def test_the_classifier_is_put_in_evaluation_mode(classifier, passes):
    for _ in range(2):
        classifier.train()
        passes()
        assert not classifier.training


def other_weights(finished):
    classifier = osk.load(finished)
    with torch.no_grad():
        classifier.head.linear.bias[0] += 1e-4
    return classifier


def other_statistics(finished):
    classifier = osk.load(finished)
    buffer = next(v for k, v in classifier.named_buffers() if k.endswith("running_mean"))
    buffer += 1e-4
    return classifier


def other_transform(finished):
    classifier = osk.load(finished)
    classifier.transform = replace(classifier.transform, mean=(0.1, 0.2, 0.3))
    return classifier


def test_what_is_different_has_another_address(passes, finished, bugs, images):
    passes()
    for change in (other_weights, other_statistics, other_transform):
        assert passes(model=change(finished))[1] == 20, change
    assert passes(precision="bf16")[1] == 20
    assert passes(osk.open(bugs / "fog"))[1] == 12
    assert passes(images.subset(range(19, -1, -1)))[1] == 20
    assert passes(images.subset(range(5)))[1] == 5
    assert passes(model=osk.load(finished))[1] == 0


def test_a_changed_image_is_another_set(passes, bugs, tmp_path):
    copied = shutil.copytree(bugs / "test", tmp_path / "copied")
    assert passes(osk.open(copied))[1] == 20
    Image.new("RGB", (16, 16)).save(copied / "ant" / "0.png")
    assert passes(osk.open(copied))[1] == 20
    assert passes(osk.open(copied))[1] == 0


def test_a_probe_is_gathered_in_the_same_pass(passes):
    probe = Brightness([])
    outputs, forwarded = passes(probes=[probe], batch_size=8)
    assert forwarded == 20
    assert probe.calls == [8, 8, 4]
    assert outputs.extra["brightness"].shape == (20,)
    assert passes(probes=[probe])[1] == 0
    assert passes()[0].extra == {}


def test_a_probe_added_later_runs_alone(passes, classifier, monkeypatch):
    first, _ = passes()
    monkeypatch.setattr(type(classifier), "features", None)  # The network is not asked again.
    probe = Brightness([])
    second, forwarded = passes(probes=[probe])
    assert (forwarded, sum(probe.calls)) == (20, 20)
    assert torch.equal(first.features, second.features)
    assert torch.equal(first.logits, second.logits)
    assert passes()[1] == 0


@pytest.fixture
def holed(bugs, tmp_path):
    """The test images, two of them corrupt."""
    folder = shutil.copytree(bugs / "test", tmp_path / "holed")
    (folder / "ant" / "2.png").write_bytes(b"no image")
    (folder / "bee" / "0.png").write_bytes(b"")
    return folder


def test_corrupt_images_are_named(passes, holed):
    with pytest.raises(
        OutskirtsError,
        match=r"ant/2\.png cannot be decoded \(.*\)\. Mend or remove it, or leave out such images with skip_corrupt",
    ):
        passes(osk.open(holed), batch_size=2)


def test_corrupt_images_are_left_out_and_counted(passes, holed):
    for expected in (20, 0):
        image_set = osk.open(holed)
        outputs, _ = passes(image_set, skip_corrupt=True)
        assert outputs.labels.tolist() == [0] * 9 + [1] * 9
        assert sorted(name[-9:] for name in image_set.skipped) == ["ant/2.png", "bee/0.png"], expected
    with pytest.raises(OutskirtsError, match=r"\.png cannot be decoded"):
        passes(osk.open(holed))


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_file_says_to_delete_it(passes, tmp_path, damage):
    passes()
    (file,) = (tmp_path / "store").rglob("pass.safetensors")
    if damage == "foreign":
        save_tensors(file, {"features": torch.zeros(2)})
    else:
        file.write_bytes(file.read_bytes()[:200] if damage == "cut" else b"")
    with pytest.raises(OutskirtsError, match=rf"{file}.*Delete the file, and it is made again"):
        passes()
    file.unlink()
    assert passes()[1] == 20


def test_no_images_are_an_error(classifier, images):
    with pytest.raises(OutskirtsError, match="holds no images"):
        osk.extract(classifier, images.subset([]))


def test_nothing_is_written_without_a_store(classifier, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    osk.extract(classifier, images)
    assert list(tmp_path.iterdir()) == []


def test_bf16_is_close_and_kept_as_float32(classifier, images):
    a, b = osk.extract(classifier, images), osk.extract(classifier, images, precision="bf16")
    assert b.features.dtype == b.logits.dtype == torch.float32
    torch.testing.assert_close(a.logits, b.logits, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("head", ["linear", "prototypes"])
def test_half_of_it_is_kept(classifier, sphere, images, tmp_path, head):
    from outskirts.detectors import create

    model = classifier if head == "linear" else sphere
    whole = osk.extract(model, images)
    half = osk.extract(model, images, keep="fp16", store=tmp_path)
    again = osk.extract(model, images, keep="fp16", store=tmp_path)
    assert half.features.dtype == (torch.float32 if head == "linear" else torch.float16)  # ASCOOD's are standardised.
    torch.testing.assert_close(half.features.float(), whole.features, atol=2e-3, rtol=2e-3)
    assert half.logits.equal(whole.logits) and again.features.equal(half.features)
    knn = create("knn:k=3")
    torch.testing.assert_close(knn.fit(half).score(half), knn.fit(whole).score(whole), atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("where", ["progress", "probe"])
def test_an_interrupted_pass_leaves_nothing(classifier, images, tmp_path, where):
    running = set(threading.enumerate())

    def stop(*ignored):
        assert set(threading.enumerate()) > running, "the next batches are being decoded"
        raise KeyboardInterrupt

    class Stopping(Brightness):
        __call__ = stop

    ways = {"progress": {"progress": stop}, "probe": {"probes": [Stopping([])]}}
    # Held, so that nothing ends only because nobody refers to it any more.
    with pytest.raises(KeyboardInterrupt) as held:
        osk.extract(classifier, images, store=tmp_path, batch_size=2, **ways[where])
    assert set(threading.enumerate()) == running and held.tb
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_images_are_given_by_their_spec_as_well(finished, bugs):
    classifier = osk.load(finished)
    outputs = [
        osk.extract(classifier, images) for images in (osk.open(bugs / "test"), str(bugs / "test"), bugs / "test")
    ]
    assert all(torch.equal(one.features, outputs[0].features) for one in outputs)
