"""A training keeps what came with the weights that it begins from: the head, and the transform."""

import pytest
import torch
import torchvision

import outskirts as osk
from outskirts.data.transform import Transform
from outskirts.errors import OutskirtsError

OPTIONS = {"epochs": 0, "batch_size": 8, "precision": "fp32", "augment": "none", "size": 32}


def network(classes=2):
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=classes).eval()


@pytest.fixture
def weights(tmp_path):
    """A file with the weights of a network for so many classes, as wrappers write it."""

    def write(classes=2):
        file = tmp_path / f"{classes}.pt"
        torch.save({"model": {f"module.{key}": value for key, value in network(classes).state_dict().items()}}, file)
        return file

    return write


@pytest.fixture
def train(bugs, tmp_path):
    said = []

    def say(sentence):
        # The images are few here, which is said of every training.
        if "too few to rely on" not in sentence:
            said.append(sentence)

    def train(method="ce", **options):
        said.clear()
        run = osk.train(method, bugs / "train", out=tmp_path / "run", say=say, **{**OPTIONS, **options})
        return osk.load(run, **({"model": network()} if "model" in options else {}))

    train.said = said
    return train


@torch.no_grad()
def test_the_head_of_a_file_is_kept(train, weights):
    classifier = train(backbone="torchvision:resnet18", pretrained=str(weights()))
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(classifier(images), network()(images))
    assert train.said == []


@torch.no_grad()
def test_the_head_of_one_s_own_network_is_kept(train):
    classifier = train(model=network(), mean="0.1,0.2,0.3", std="0.5,0.5,0.5")
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(classifier(images), network()(images))
    assert classifier.transform.mean == (0.1, 0.2, 0.3), "as stated, not as measured on the images"


@pytest.mark.parametrize("form", ["pretrained", "model"])
def test_a_head_of_other_classes_is_an_error_unless_a_new_one_is_asked_for(form, train, weights, tmp_path):
    options = (
        {"backbone": "torchvision:resnet18", "pretrained": str(weights(5))}
        if form == "pretrained"
        else {"model": network(5)}
    )
    told = r"have a head of 5 classes, and the training images are of 2\. .* ask for a new head \(--new-head\)"
    with pytest.raises(OutskirtsError, match=told):
        train(**options)
    assert not (tmp_path / "run").exists()
    if form == "model":
        options = {"model": network(5)}
    assert train(**options, new_head=True).head.linear.out_features == 2


def test_a_new_head_is_new(train, weights):
    kept = network().fc.weight
    assert not torch.equal(
        train(backbone="torchvision:resnet18", pretrained=str(weights()), new_head=True).head.linear.weight, kept
    )


def test_a_method_with_a_head_of_its_own_says_so(train, weights):
    train("cider", backbone="torchvision:resnet18", pretrained=str(weights()))
    assert train.said == ["The head of the weights is of another kind; 'cider' trains a new one."]


@torch.no_grad()
def test_a_classifier_from_elsewhere_is_trained_on(train, weights, bugs, tmp_path):
    model = "timm:resnet10t?weights=none&size=32&mean=.3,.3,.3&std=.2,.2,.2&head=none"
    classifier = train(init=model, size=None)
    assert classifier.architecture == "timm:resnet10t"
    assert (classifier.transform.mean, classifier.transform.size) == ((0.3, 0.3, 0.3), 32)
    again = f"torchvision:resnet18?weights={weights()}&size=32"
    run = osk.train("ce", bugs / "train", out=tmp_path / "again", init=again, **{**OPTIONS, "size": None})
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(osk.load(run)(images), network()(images))
    turned = osk.train(
        "ce", bugs / "train", out=tmp_path / "turned", init=f"{again}&classes=bee,ant", **{**OPTIONS, "size": None}
    )
    assert osk.load(turned).classes == ["ant", "bee"]
    torch.testing.assert_close(osk.load(turned)(images), network()(images).flip(1))


def test_transforms_belong_to_the_weights_unless_stated(train, weights, monkeypatch):
    classifier = train(backbone="torchvision:resnet18", pretrained=str(weights()))
    transform = classifier.transform
    assert transform.mean == (0.485, 0.456, 0.406) and transform.resize == round(32 * 256 / 224)


def test_what_is_stated_of_the_transform_goes_over_it(train, weights):
    transform = train(
        backbone="torchvision:resnet18", pretrained=str(weights()), mean=".5,.5,.5", interpolation="bicubic", crop=1.0,
        fit="pad",
    ).transform  # fmt: skip
    assert transform.mean == (0.5, 0.5, 0.5) and transform.std == (0.229, 0.224, 0.225)
    assert (transform.interpolation, transform.fit, transform.resize) == ("bicubic", "pad", None)


@pytest.mark.parametrize("mean", ["a", "0.5", "1,2,3,4", ""])
def test_a_mean_is_a_number_for_each_channel(mean, train):
    with pytest.raises(OutskirtsError, match="The mean must be 3 numbers separated by commas"):
        train(backbone="torchvision:resnet18", mean=mean)


def test_images_fit_as_stated():
    wide = torch.zeros(3, 4, 16, dtype=torch.uint8)
    wide[:, :, 12:] = 200
    cropped, squashed, padded = (Transform(8, 3, fit=fit).host(wide) for fit in ("crop", "squash", "pad"))
    assert cropped.shape == squashed.shape == padded.shape == (3, 8, 8)
    assert cropped.max() == 0, "the ends are cut off"
    assert (squashed[:, :, 6:] > 150).all() and (squashed[:, :, :5] < 50).all()
    assert (padded[:, :3] == 128).all() and (padded[:, 5:] == 128).all(), "a border in the colour of the mean"
    assert (padded[:, 3:5, 7] > 150).all()
    assert (
        "fit" not in Transform(8, 3).to_json()
        and Transform.from_json(Transform(8, 3, fit="pad").to_json()).fit == "pad"
    )
