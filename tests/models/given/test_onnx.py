"""ONNX files of other shapes than those that torch writes are read, or refused in a sentence."""

import pytest
import torch

from outskirts.errors import OutskirtsError
from outskirts.models.given import given_classifier, parse_model
from outskirts.models.heads import LinearHead


def opened(text):
    return given_classifier(parse_model(text))


@pytest.fixture
def onnx_file(tmp_path):
    """Writes an ONNX file with a last layer; options say what is odd with it."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper

    def write(bias=(2,), shape=("b", 3, 4, 4), kind="Flatten", out=("y",), weight=1):
        weights = torch.arange(96.0).reshape(2, 48) / 96, torch.ones(bias)
        constants = [onnx.numpy_helper.from_array(value.numpy(), name) for value, name in zip(weights, "wc")]
        constants[0].data_type = weight
        nodes = [make.make_node(kind, ["x"], ["f"]), make.make_node("Gemm", ["f", "w", "c"], ["y"], transB=1)]
        given = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
        made = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 2]) for name in out]
        graph = make.make_graph(nodes, "g", [given], made, constants)
        model = make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 17)])
        (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
        return f"{tmp_path / 'odd.onnx'}?size=4&mean=0,0,0&std=1,1,1"

    pytest.importorskip("onnxruntime")
    return write


@pytest.mark.parametrize("bias", [(2,), (1, 2), (1,), ()])
def test_the_bias_of_an_onnx_layer_may_be_a_row_or_one_number(bias, onnx_file):
    classifier = opened(onnx_file(bias))
    assert isinstance(classifier.head, LinearHead)
    torch.testing.assert_close(classifier.head.linear.bias, torch.ones(2))


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"bias": (8,)}, r"The ONNX file cannot (be run|take images of shape)"),
        ({"shape": ("b", 48)}, r"takes something else than images \[batch, channels, height, width\]"),
        ({"shape": ()}, r"takes something else than images|cannot be run|cannot be read"),
        ({"weight": 73}, "cannot be read as an ONNX file"),
        ({"out": ()}, "gives nothing; an ONNX file of a classifier has an output of logits"),
        ({"kind": "Size"}, "cannot be run|cannot take images|is a tensor of shape"),
    ],
)
def test_an_odd_onnx_file_ends_in_a_sentence(odd, told, onnx_file):
    with pytest.raises(OutskirtsError, match=told):
        opened(onnx_file(**odd))


def test_weights_in_another_file_are_told_of(onnx_file, tmp_path):
    onnx = pytest.importorskip("onnx")
    text = onnx_file()
    expected = opened(text)
    model = onnx.load(tmp_path / "odd.onnx")
    onnx.save(model, tmp_path / "odd.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(
        OutskirtsError, match=r"odd\.onnx keeps its weights in another file\. Write both into one: onnx"
    ):
        opened(text)
    onnx.save(onnx.load(tmp_path / "odd.onnx"), tmp_path / "one.onnx")
    again = opened(text.replace("odd.onnx", "one.onnx"))
    torch.testing.assert_close(again.head.linear.weight, expected.head.linear.weight)
