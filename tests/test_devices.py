import pytest
import torch

from outskirts import OutskirtsError, devices
from outskirts.devices import faster_precision, repeatable, resolve_device


def test_auto_is_a_device_that_is_there():
    torch.zeros(1, device=resolve_device("auto"))


def test_an_unknown_device_names_the_nearest():
    with pytest.raises(OutskirtsError, match="no device 'cdua'; did you mean 'cuda'"):
        resolve_device("cdua")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_an_error():
    with pytest.raises(OutskirtsError, match="device 'cuda' is not present"):
        resolve_device("cuda")


def test_the_faster_precision_is_one_of_two():
    assert faster_precision(torch.device("cpu")) in ("bf16", "fp32")
    assert faster_precision(torch.device("meta")) == "fp32"


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode])
def test_it_may_be_asked_for_while_nothing_is_learned(block):
    devices._faster_on_processor.cache_clear()
    with block():
        assert faster_precision(torch.device("cpu")) in ("bf16", "fp32")


@pytest.mark.parametrize(
    ("bf16", "passes", "faster"), [([0.9], 1, "fp32"), ([0.3, 0.05, 0.06], 3, "bf16"), ([0.3, 0.09, 0.1], 3, "fp32")]
)
def test_an_emulated_precision_is_not_waited_for(monkeypatch, bf16, passes, faster):
    made = []

    def seconds(half):
        for one in [*bf16, *bf16] if passes == 1 else bf16:
            made.append(one)
            yield one

    monkeypatch.setattr(devices, "_seconds", lambda half: seconds(half) if half else iter([0.4, 0.1]))
    monkeypatch.setattr(devices, "_faster_on_processor", devices._faster_on_processor.__wrapped__)
    assert faster_precision(torch.device("cpu")) == faster and len(made) == passes


@pytest.mark.parametrize("products", ["highest", "high", "medium"])
def test_float32_means_float32_in_products_and_convolutions(products):
    cudnn, matmul, asked = torch.backends.cudnn, torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(products)
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    try:
        with pytest.raises(KeyError), repeatable():
            assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == (
                False,
                False,
                True,
                False,
            )
            raise KeyError
        assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == before
        assert torch.get_float32_matmul_precision() == products
    finally:
        torch.set_float32_matmul_precision(asked)
