"""What the shipped benchmarks train each method with, against the published settings, written out."""

import re

import pytest

import outskirts as osk
from outskirts.benchmarking.jobs import plan
from outskirts.data.benchmark import benchmarks
from outskirts.errors import OutskirtsError
from outskirts.methods import registry

CROPS, VIEWS = "resized-crop,flip", "resized-crop:0.2:1,flip,jitter:0.4:0.4:0.4:0.1,grey"
LARGE_VIEWS = "resized-crop:0.4:1,flip,jitter:0.4:0.4:0.4:0.1,grey"
NAMES = ("backbone", "pretrained", "size", "epochs", "batch_size", "lr", "warmup", "weight_decay", "augment")

R18, R34 = ("resnet18-cifar", None, 32), ("resnet34-cifar", None, 32)
OPEN = (*R18, 100, 128, 0.1, 0.0, 5e-4, "flip,crop:4")
TUNED = ("torchvision:resnet34", "true", 224)
FINE = ("timm:resnet50.tv_in1k", "true", 448, 30, 32, 0.01, 0.0, 5e-4, CROPS)
SPURIOUS = ("torchvision:resnet18", "true", 224, 30, 128, 0.01, 0.0, 5e-4, CROPS)
BIRDS = ("torchvision:mobilenet_v2", "IMAGENET1K_V1", 96)
BIRDS_CROPS = "resized-crop:0.3:1,flip"
IN100 = (*TUNED, 20, 256, 0.01, 0.0, 5e-4, CROPS)
IN100_SPHERE = (*TUNED, 20, 512, 0.005, 0.5, 1e-4, LARGE_VIEWS)


def papers(network, **others):
    sphere = {"cider": (512, 0.02), "supcon": (512, 0.02), "npos": (256, 0.0)}
    return {
        None: (*network, 200, 128, 0.1, 0.0, 5e-4, "flip,crop:4"),
        "ascood": (*network, 100, 128, 0.1, 0.0, 5e-4, "flip,crop:4"),
        **{name: (*network, 500, size, 0.5, warmup, 1e-4, VIEWS) for name, (size, warmup) in sphere.items()},
        **others,
    }


CIFAR = {
    None: OPEN,
    "cider": (*R18, 100, 512, 0.5, 0.1, 1e-4, VIEWS),
    "supcon": (*R18, 100, 512, 0.5, 0.1, 1e-4, VIEWS),
    "npos": (*R18, 100, 256, 0.1, 0.0, 1e-4, VIEWS),
}
SIO = {name: (*row[:3], 200, *row[4:]) for name, row in CIFAR.items()}
SIO |= {name: (*SIO[name][:6], 0.05, *SIO[name][7:]) for name in ("cider", "supcon")}
R18_SCRATCH = ("torchvision:resnet18", None, 224)
IMAGENET100 = {None: IN100, "cider": IN100_SPHERE, "npos": IN100_SPHERE}
CLIP = ("clip:DATA/clip-vit-base-patch16", None, 224, 20, 800, 0.1, 0.0, 1e-4, "none")

#: By benchmark and method; None is any other method.
EXPECTED = {
    "aircraft": {None: FINE},
    "birds-quick": {None: (*BIRDS, 16, 64, 0.01, 0.0, 5e-4, BIRDS_CROPS)},
    "cars": {None: FINE},
    "celeba": {None: SPURIOUS},
    "cifar10": CIFAR,
    "cifar10-papers": papers(R18),
    "cifar10-quick": {None: ("fast", None, 32, 5, 256, 0.3, 0.15, 5e-4, "flip,crop:2")},
    "cifar100": CIFAR,
    **{
        f"{name}-sio": {None: (*R18_SCRATCH, 60, 256, 0.1, 0.0, 1e-4, CROPS)}
        for name in ("imagenet10", "imagenet-dogs")
    },
    **{f"cifar{count}-sio": SIO for count in (10, 100)},
    "cifar100-papers": papers(R34, ncis=(*R34, 250, 256, 0.1, 0.0, 5e-4, "flip,crop:4")),
    "imagenet100-cider": IMAGENET100,
    "imagenet100-ncis": IMAGENET100 | {"ncis": (*TUNED, 20, 80, 0.001, 0.0, 5e-4, CROPS)},
    "imagenet100-npos": IMAGENET100 | {"npos-clip": CLIP},
    "imagenet1k": {None: ("torchvision:resnet50", "IMAGENET1K_V1", 224, 30, 256, 0.001, 0.0, 5e-4, CROPS)},
    "imagenet200": {None: ("torchvision:resnet18", None, 224, 90, 256, 0.1, 0.0, 5e-4, CROPS)},
    "mnist5k": {None: ("fast", None, 28, 16, 256, 0.3, 0.15, 5e-4, "flip,crop:2")},
    "waterbirds": {None: SPURIOUS},
    "waterbirds-quick": {None: (*BIRDS, 6, 64, 0.01, 0.0, 5e-4, BIRDS_CROPS)},
}

ALPHAS = ("outliers", "p_inv", "alpha_max", "alpha_min", "outlier_weight", "fc_lr_factor")
SPHERE = ("prototype_momentum", "compactness_weight", "dispersion_weight", "neighbours", "train_layers")
OUTLIERS = ("k", "boundary", "picks", "candidates", "keep", "start", "outlier_weight")
W1, W2 = pytest.approx(1 / 0.7), pytest.approx(2 / 0.7)
NPOS = (300, 200, 2, 600, 200, 0.4, 0.1)
NPOS_LARGE = (400, 300, 3, 1500, 2, 0.4, 0.1)

#: The methods' own settings.
OWN = {
    ("aircraft", "ascood"): (ALPHAS, ("gradient", 0.1, 0.1, 0.1, 1.0, 1.0)),
    # 0.1 at 448 pixels, times (96 / 448)².
    ("birds-quick", "ascood"): (ALPHAS, ("gradient", 0.1, pytest.approx(0.0046), pytest.approx(0.0046), 1.0, 1.0)),
    ("cars", "ascood"): (ALPHAS, ("gradient", 0.1, 0.1, 0.1, 1.0, 1.0)),
    ("celeba", "ascood"): (ALPHAS, ("gaussian", 0.1, 0.1, 0.1, 1.0, 1.0)),
    ("waterbirds", "ascood"): (ALPHAS, ("gradient", 0.1, 300.0, 30.0, 0.1, 1.0)),
    # 300 and 30 at 224 pixels, times (96 / 224)².
    ("waterbirds-quick", "ascood"): (ALPHAS, ("gradient", 0.1, 55.0, 5.5, 0.1, 1.0)),
    **{
        (f"imagenet100-{of}", "ascood"): (ALPHAS, ("gradient", 0.1, 300.0, 30.0, 1.0, 1.0))
        for of in ("cider", "npos", "ncis")
    },
    **{
        (f"cifar10{kind}", "ascood"): (ALPHAS, ("shuffle", 0.15, 300.0, 30.0, 1.0, 1.0))
        for kind in ("", "-papers", "-sio")
    },
    **{(f"cifar100{kind}", "ascood"): (ALPHAS, ("shuffle", 0.1, 300.0, 30.0, 5.0, 0.05)) for kind in ("", "-papers")},
    ("cifar10", "cider"): (SPHERE, (0.95, W2, 1.0, 100, None)),
    ("cifar10-papers", "cider"): (SPHERE, (0.95, W2, 1.0, 100, None)),
    ("cifar100", "cider"): (SPHERE, (0.5, W2, 1.0, 300, None)),
    ("cifar100-papers", "cider"): (SPHERE, (0.5, W1, 1.0, 300, None)),
    ("imagenet1k", "cider"): (("train_layers",), ("layer4",)),
    **{(f"imagenet100-{of}", "cider"): (SPHERE, (0.95, W2, 1.0, 300, "layer4")) for of in ("cider", "npos", "ncis")},
    **{(f"cifar10{kind}", "npos"): (SPHERE, (0.95, W1, 0.5, 300, None)) for kind in ("", "-papers")},
    **{(f"cifar100{kind}", "npos"): (SPHERE + OUTLIERS, (0.5, W1, 0.5, 300, None, *NPOS)) for kind in ("", "-papers")},
    **{(f"imagenet100-{of}", "npos"): (OUTLIERS, NPOS_LARGE) for of in ("cider", "npos", "ncis")},
    ("imagenet100-npos", "npos-clip"): (
        (*OUTLIERS, "queue", "id_loss", "logitnorm_temperature"),
        (400, 300, 3, 1500, 2, 0.5, 0.1, 1000, "logitnorm", 8.0),
    ),
    ("cifar100-papers", "ncis"): (("outlier_weight", "ood_head", "temperature"), (1.0, "linear", 1.0)),
    ("imagenet100-ncis", "ncis"): (("outlier_weight", "ood_head", "temperature"), (1.0, "mlp", 1.0)),
}


def options(name, method, all_there, **given):
    images = {"outlier_images": "pool:outliers"}
    needs = {"ncis": images, "mixoe": images, "dream": {"anchors": "generator"}}.get(method, {})
    return plan(osk.load_benchmark(name), [method], [0], all_there / "out", options={**needs, **given})[0].options


@pytest.mark.parametrize("name", benchmarks())
def test_every_method_is_trained_as_published(name, all_there):
    expected, own = EXPECTED[name], {method: value for (of, method), value in OWN.items() if of == name}
    for method in registry.names():
        if method == "npos-clip" and method not in expected:
            with pytest.raises(OutskirtsError, match="trains CLIP models"):
                options(name, method, all_there)
            continue
        found = options(name, method, all_there)
        found = {**found, "backbone": found["backbone"].replace(str(all_there), "DATA")}
        assert tuple(found[key] for key in NAMES) == expected.get(method, expected[None]), (name, method)
        names, values = own.get(method, ((), ()))
        assert tuple(found[k] for k in names) == values, (name, method)


@pytest.mark.parametrize("name", benchmarks())
def test_recipes_of_all_hold_network_size_budget_and_weights(name, all_there):
    assert {"backbone", "size", "epochs", "pretrained"} <= set(osk.load_benchmark(name).recipes["all"])


@pytest.mark.parametrize("name", benchmarks())
def test_detectors_are_chosen_on_images_that_no_method_trains_with(name, all_there):
    benchmark = osk.load_benchmark(name)
    tested = [spec for sets in benchmark.ood.values() for spec in sets.values()]
    assert benchmark.tune_on and benchmark.tune_on not in tested
    # The folder of all its images would hold those that detectors are chosen on.
    assert "val_openimage_o" not in benchmark.tune_on or not any(s.endswith("/openimage_o") for s in tested)


@pytest.mark.parametrize(("name", "near"), [("cifar10-sio", "cifar100"), ("cifar100-sio", "cifar10")])
def test_sio_has_no_tiny_imagenet_among_its_sets(name, near, all_there):
    benchmark = osk.load_benchmark(name)
    assert {group: set(sets) for group, sets in benchmark.ood.items()} == {
        "near": {near},
        "far": {"mnist", "svhn", "texture", "places365"},
    }


def test_sio_splits_of_imagenet_are_apart(all_there):
    ten, dogs = (osk.load_benchmark(f"{name}-sio") for name in ("imagenet10", "imagenet-dogs"))

    def places(spec):
        ranges = [span.split("-") for span in re.search(r"classes=([\d,-]+)", spec)[1].split(",")]
        return [place for span in ranges for place in range(int(span[0]), int(span[-1]) + 1)]

    assert places(ten.train) == places(ten.test) == [31, 62, 94, 207, 281, 404, 569, 751, 814, 949]
    assert sorted(places(ten.train) + places(ten.ood["near"]["others"])) == list(range(1000))
    assert places(dogs.train) == list(range(151, 251))
    # The other breeds of dogs are neither.
    assert sorted(places(dogs.train) + places(dogs.ood["near"]["others"])) == [*range(251), *range(269, 1000)]


@pytest.mark.parametrize("name", ["cifar10-papers", "cifar100-papers"])
def test_lsun_shrunk_whole_does_not_count_as_far(name, all_there):
    benchmark = osk.load_benchmark(name)
    assert set(benchmark.ood) == {"far", "resized"} and set(benchmark.ood["resized"]) == {"lsun-resize"}
    assert set(benchmark.ood["far"]) == {"svhn", "textures", "places365", "lsun-crop", "isun"}
    assert "lsun-resize" in benchmark.needs


def test_the_command_line_comes_last(all_there):
    assert options("imagenet100-cider", "cider", all_there, lr=0.7)["lr"] == 0.7
    assert options("cifar10", "ce", all_there, preset=None)["lr"] == 0.1


def test_a_method_without_what_it_needs_is_refused(all_there):
    benchmark = osk.load_benchmark("cifar100-papers")
    for method, match in (("ncis", "outlier_images.*--set"), ("dream", "--anchors"), ("npos-clip", "CLIP models")):
        with pytest.raises(OutskirtsError, match=match):
            plan(benchmark, ["ce", method], [0], all_there / "out")
    # Images of outliers are for the methods that take some.
    made = plan(benchmark, ["ce", "ncis"], [0], all_there / "out", options={"outlier_images": "pool:outliers"})
    assert [job.options["outlier_images"] for job in made] == [None, "pool:outliers"]
    (all_there / "clip-vit-base-patch16" / "config.json").unlink()
    (all_there / "clip-vit-base-patch16").rmdir()
    with pytest.raises(OutskirtsError, match="There is no CLIP folder"):
        plan(osk.load_benchmark("imagenet100-npos"), ["npos-clip"], [0], all_there / "out")
