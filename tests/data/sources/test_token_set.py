import pickle

import pytest
import torch

import outskirts as osk
from outskirts.data.leakage import overlap
from outskirts.data.loading.augment import parse_augmentations
from outskirts.data.loading.batches import training_batches
from outskirts.data.sources.token_set import TokenSet, write_tokens
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, save_json
from outskirts.models.classifier import Classifier
from outskirts.models.clip import clip_backbone


@pytest.fixture(scope="module")
def backbone(clip_folder):
    return clip_backbone(f"clip:{clip_folder}")


@pytest.fixture(scope="module")
def images(bugs):
    return osk.open(bugs / "train")


@pytest.fixture(scope="module")
def folder(backbone, images, tmp_path_factory):
    """The tokens of the 40 training images in shards of 16; not to be changed."""
    folder = tmp_path_factory.mktemp("tokens") / "train"
    extract(backbone, images, folder)
    return folder


@pytest.fixture
def classifier(backbone, images):
    return Classifier(backbone, torch.nn.Identity(), backbone.transform, images.classes)


def extract(backbone, images, folder, trunk=None, **options):
    trunk = trunk or backbone.network.eval().tokens
    write_tokens(trunk, backbone.transform, images, folder, **{"shard": 16, "batch_size": 5, **options})


def test_tokens_say_what_images_say(classifier, images, folder):
    tokens = osk.open(f"tokens:{folder}")
    assert isinstance(tokens, TokenSet) and (len(tokens), tokens.classes) == (40, ["ant", "bee"])
    assert torch.equal(tokens.labels, images.labels)
    direct, cached = osk.extract(classifier, images), osk.extract(classifier, tokens)
    error = (cached.features - direct.features).norm() / direct.features.norm()
    assert 0 < error < 1e-3


def test_one_image_or_all(classifier, images, folder):
    tokens = osk.open(f"tokens:{folder}")
    held, labels = tokens.resident(classifier.transform)
    assert (held.shape, held.dtype) == ((40, 1, 17, 32), torch.float16)
    assert tokens.nbytes(classifier.transform) == held.numel() * held.element_size()
    for i in (0, 15, 16, 39):
        image, label = tokens[i]
        assert torch.equal(image, held[i]) and label == labels[i]
    expected = classifier.backbone.tokens(classifier.transform.device(images.resident(classifier.transform)[0]))
    assert torch.equal(held, expected.half())


def test_views_are_those_of_any_set(classifier, folder):
    tokens = osk.open(f"tokens:{folder}?classes=bee&limit=7&seed=3")
    assert (len(tokens), tokens.classes, set(tokens.labels.tolist())) == (7, ["bee"], {0})
    whole = osk.open(f"tokens:{folder}")
    held, _ = whole.subset([39, 0, 17]).resident(classifier.transform)
    assert torch.equal(held, whole.resident(classifier.transform)[0][[39, 0, 17]])
    assert type(whole.align(["bee", "cat", "ant"])) is TokenSet
    assert len(pickle.loads(pickle.dumps(tokens))) == 7


def test_copies_are_recognised(images, bugs, folder):
    tokens = osk.open(f"tokens:{folder}")
    assert tokens.keys == images.keys
    assert overlap(tokens, images) == 40 and overlap(tokens, osk.open(bugs / "test")) == 0
    # What the network says of them differs by rounding, and so do the addresses of its outputs.
    assert tokens.fingerprint != images.fingerprint
    assert tokens.fingerprint == osk.open(f"tokens:{folder}").fingerprint


class Killed(BaseException):
    pass


def test_an_extraction_goes_on_where_it_was_killed(backbone, images, folder, tmp_path):
    calls = 0

    def trunk(batch):
        nonlocal calls
        calls += 1
        if calls == 6:  # In the second of three shards.
            raise Killed
        return backbone.network.tokens(batch)

    with pytest.raises(Killed):
        extract(backbone, images, tmp_path / "half", trunk)
    assert sorted(path.name for path in (tmp_path / "half").iterdir()) == ["manifest.json", "tokens-00000.safetensors"]
    with pytest.raises(OutskirtsError, match=r"not finished: 2 of 3 shards are missing.*again"):
        osk.open(f"tokens:{tmp_path / 'half'}")
    before = (tmp_path / "half" / "tokens-00000.safetensors").stat().st_mtime_ns
    done = []
    extract(backbone, images, tmp_path / "half", progress=done.append)
    assert done == [16, 32, 40]
    assert (tmp_path / "half" / "tokens-00000.safetensors").stat().st_mtime_ns == before
    for file in folder.iterdir():
        assert (tmp_path / "half" / file.name).read_bytes() == file.read_bytes()


def test_images_are_decoded_while_the_trunk_is_busy(backbone, images, tmp_path, monkeypatch):
    decoded, known = [], []
    image = osk.ImageSet.image
    monkeypatch.setattr(osk.ImageSet, "image", lambda self, i, reading: decoded.append(i) or image(self, i, reading))

    def trunk(batch):
        known.append(len(decoded))
        return backbone.network.tokens(batch)

    extract(backbone, images, tmp_path / "new", trunk, shard=40, batch_size=4)
    # With the images of the first batch, at most two further batches, and one that is begun.
    assert known[0] <= 16 and len(decoded) == 40


def test_a_folder_of_something_else_is_refused(clip_folder, backbone, images, bugs, folder, tmp_path):
    other = clip_backbone(f"clip:{clip_folder}?frozen=1")
    for begun, what, options in (
        (backbone, osk.open(bugs / "test"), {}),
        (other, images, {}),
        (backbone, images, {"dtype": "bfloat16"}),
        (backbone, images, {"shard": 20}),
    ):
        with pytest.raises(OutskirtsError, match=r"was begun with the (data|transform|dtype|shards) .*, not "):
            extract(begun, what, folder, **options)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(OutskirtsError, match="not an empty folder"):
        extract(backbone, images, tmp_path)
    with pytest.raises(OutskirtsError, match="holds tokens already"):
        extract(backbone, osk.open(f"tokens:{folder}"), tmp_path / "twice")


def test_tokens_of_another_network_are_refused(clip_folder, images, folder):
    tokens = osk.open(f"tokens:{folder}")
    other = clip_backbone(f"clip:{clip_folder}?frozen=1")
    classifier = Classifier(other, torch.nn.Identity(), other.transform, images.classes)
    with pytest.raises(OutskirtsError, match=r"another trunk: 2 blocks of .*, but the network has 1 blocks of .*again"):
        osk.extract(classifier, tokens)
    with pytest.raises(OutskirtsError, match="another size: 32, but the network has 16"):
        tokens.nbytes(Transform(16))
    with pytest.raises(OutskirtsError, match="tokens of a frozen network, not images"):
        Transform(32).host(tokens.image(0))


def test_tokens_are_not_augmented(backbone, folder):
    tokens = osk.open(f"tokens:{folder}")
    options = {"batch_size": 8, "epochs": 1, "seed": 0, "device": torch.device("cpu")}
    with pytest.raises(OutskirtsError, match=r"cannot be augmented, and tokens:.* holds tokens; pass --augment none"):
        training_batches(tokens, backbone.transform, parse_augmentations("flip", 32), **options)
    resident = training_batches(tokens, backbone.transform, parse_augmentations("none", 32), **options)
    streamed = training_batches(
        tokens, backbone.transform, parse_augmentations("none", 32), **options, memory_budget=0, workers=0
    )
    for one, two in zip(resident.start(0), streamed.start(0), strict=True):
        assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels)
        assert (one.images.shape, one.images.dtype) == ((8, 1, 17, 32), torch.float32)
    held = tokens.resident(backbone.transform)[0]
    assert torch.equal(torch.cat([block for block, _ in resident.plain()]), held.float())


def test_unlabelled_sets_and_bfloat16(backbone, bugs, tmp_path):
    extract(backbone, osk.open(bugs / "fog"), tmp_path / "fog", dtype="bfloat16", precision="bf16")
    tokens = osk.open(f"tokens:{tmp_path / 'fog'}")
    assert (tokens.classes, set(tokens.labels.tolist())) == ([], {-1})
    assert tokens.image(3).dtype == torch.bfloat16


def test_tokens_out_of_range_are_told(backbone, images, tmp_path):
    with pytest.raises(OutskirtsError, match="exceed the range of float16; choose bfloat16"):
        extract(backbone, images, tmp_path / "large", lambda batch: backbone.network.tokens(batch) * 1e5)


def test_damage_is_told(backbone, images, tmp_path):
    extract(backbone, images, tmp_path)
    manifest = load_json(tmp_path / "manifest.json")
    save_json(tmp_path / "manifest.json", {**manifest, "format": 0})
    with pytest.raises(OutskirtsError, match="no tokens that this version"):
        osk.open(f"tokens:{tmp_path}")
    save_json(tmp_path / "manifest.json", {**manifest, "shards": [16, 16, 9]})
    with pytest.raises(OutskirtsError, match=r"00002\.safetensors holds 8 rows instead of 9"):
        osk.open(f"tokens:{tmp_path}")
    save_json(tmp_path / "manifest.json", manifest)
    shard = tmp_path / "tokens-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(OutskirtsError, match=r"00001\.safetensors is damaged .*; delete it and extract again"):
        osk.open(f"tokens:{tmp_path}")
    with pytest.raises(OutskirtsError, match=r"manifest\.json is missing"):
        osk.open(f"tokens:{tmp_path.parent}")
