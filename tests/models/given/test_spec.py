"""The texts that name classifiers."""

from pathlib import Path

import pytest

from outskirts.errors import OutskirtsError
from outskirts.models.given import KINDS, OPTIONS, parse_model
from outskirts.models.given.spec import TAKEN


def test_a_text_is_taken_apart(tmp_path):
    (tmp_path / "my.pt").touch()
    spec = parse_model("timm:resnet50.a1_in1k?weights=my.pt&size=160&mean=.5,.5,.5", tmp_path)
    assert (spec.kind, spec.where) == ("timm", "resnet50.a1_in1k")
    assert spec.options == {"weights": str(tmp_path / "my.pt"), "size": "160", "mean": ".5,.5,.5"}
    assert spec.number("size", int) == 160 and spec.channel_values("mean") == (0.5, 0.5, 0.5)
    assert parse_model(str(spec)) == spec, "what is written opens from anywhere"


def test_parts_of_files_are_kept(tmp_path):
    (tmp_path / "my.pt").touch()
    assert parse_model("timm:resnet50?weights=my.pt#ema", tmp_path).options["weights"] == f"{tmp_path / 'my.pt'}#ema"


def test_names_of_weights_are_no_paths():
    assert parse_model("torchvision:resnet50?weights=IMAGENET1K_V2").options["weights"] == "IMAGENET1K_V2"


def test_what_a_file_tells_needs_not_be_said(tmp_path):
    (tmp_path / "a.onnx").touch(), (tmp_path / "a.pt2").touch(), (tmp_path / "run").mkdir()
    assert [parse_model(name, tmp_path).kind for name in ("a.onnx", "a.pt2", "run", "onnx:a.onnx")] == [
        "onnx",
        "pt2",
        "run",
        "onnx",
    ]
    assert parse_model("a.onnx?size=32", tmp_path).where == str(Path(tmp_path / "a.onnx"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timn:resnet50", "no kind of classifier 'timn'; did you mean 'timm'"),
        (
            "resnet50",
            "'resnet50' does not say what kind of classifier it is; write KIND:resnet50 with one of: run, timm",
        ),
        ("timm:", "names no classifier; write timm: and the name of a model of timm"),
        ("timm:a?wieghts=b", "no option 'wieghts' of a classifier; did you mean 'weights'"),
        ("timm:a?size", "'size' in 'timm:a[?]size' is not an option of the form NAME=VALUE"),
        ("timm:a?size=1&size=2", "option size is given twice"),
    ],
)
def test_wrong_texts_are_told(text, told):
    with pytest.raises(OutskirtsError, match=told):
        parse_model(text)


@pytest.mark.parametrize(("name", "value"), [("size", "0"), ("size", "1.5"), ("size", "big"), ("size", "-3")])
def test_numbers_are_above_zero(name, value):
    with pytest.raises(OutskirtsError, match=f"{name}={value} in .* is not a whole number above 0"):
        parse_model(f"timm:a?{name}={value}").number(name, int)


def test_channel_values_are_numbers():
    with pytest.raises(OutskirtsError, match=r"mean=a,b in .* is not a number for each channel; write mean=0\.485"):
        parse_model("timm:a?mean=a,b").channel_values("mean")


def test_an_option_is_given_once():
    spec = parse_model("timm:a?size=32")
    assert spec.with_options(mean=".5", std=None).options == {"size": "32", "mean": ".5"}
    with pytest.raises(OutskirtsError, match=r"size is given twice: in 'timm:a\?size=32' and by --size"):
        spec.with_options(size="64")


def test_every_option_is_described():
    assert all(text and text[0].islower() and not text.endswith(".") for text in OPTIONS.values())


@pytest.mark.parametrize(
    "text",
    [
        *(f"{kind}:a?{option}" for kind in ("onnx", "pt2", "torchscript") for option in ("weights=b", "head=fc")),
        *(f"{kind}:a?{option}" for kind in TAKEN if kind != "clip" for option in ("words=a,b", "template=b")),
        *(f"hf:a?{option}" for option in ("channels=1", "weights=b", "output=b")),
        *(f"clip:a?{name}=1" for name in ("size", "channels", "output", "features", "weights", "head")),
        "torchvision:a?channels=1",
    ],
)
def test_options_that_a_kind_does_not_take_are_refused(text):
    kind, option = text.partition(":")[0], text.partition("?")[2]
    with pytest.raises(OutskirtsError, match=f"option {option}, which .* kind {kind} does not take; .* takes: .*mean"):
        parse_model(text)


def test_kinds_take_options_that_there_are():
    assert set(TAKEN) == set(KINDS) - {"run"}, "a run has a sentence of its own"
    assert {name.partition("=")[0] for taken in TAKEN.values() for name in taken} == set(OPTIONS)
    assert parse_model("onnx:a?head=none").options == {"head": "none"}


def test_no_head_and_named_features_contradict_each_other():
    with pytest.raises(OutskirtsError, match=r"head=none, .* and features=; leave out one of them"):
        parse_model("timm:a?head=none&features=b")
