"""Every public argument with a fixed choice of values refuses any other, when it is given."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from torch import Tensor

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.arguments import check_arguments
from outskirts.detectors import registry as detectors
from outskirts.generation.generators import registry as generators
from outskirts.methods import registry as methods
from outskirts.training.config import TrainConfig


def public() -> Iterator[Any]:
    """All functions and classes that a user may call."""
    for where in (osk, osk.detectors, osk.generation, osk.metrics, osk.methods, osk.synthesis):
        yield from (getattr(where, name) for name in where.__all__)
    for registry in (detectors, generators, methods):
        yield from (getattr(registry[name], "Config", registry[name]) for name in registry.names())
    yield TrainConfig


def fixed(hint: Any) -> bool:
    """Whether a type is a choice of values, or of values and None."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return get_origin(hint) is Literal or (len(parts) > 0 and all(get_origin(part) is Literal for part in parts))


def choices() -> dict[str, tuple[Any, str]]:
    found = {}
    for called in public():
        if callable(called):
            hinted = called.__init__ if isinstance(called, type) and not is_dataclass(called) else called
            try:
                hints = get_type_hints(hinted)
            except (NameError, TypeError):  # What is imported for types alone, and modules.
                continue
            found |= {f"{called.__name__}.{name}": (called, name) for name, hint in hints.items() if fixed(hint)}
    return found


CHOICES = choices()


def test_there_are_many():
    assert len(CHOICES) > 40 and {"extract.features", "evaluate_run.precision", "KNN.space"} <= CHOICES.keys()


@pytest.mark.parametrize("name", CHOICES)
def test_another_value_is_refused(name):
    called, argument = CHOICES[name]
    with pytest.raises(
        OutskirtsError, match=f"^{argument}( of the (detector|generator) '[a-z_]+')? must be one of .*, not 'zz'"
    ):
        called(**{argument: "zz"})


def test_none_is_a_value_where_it_is_allowed():
    @check_arguments
    def draw(kind: Literal["dots", "lines"] | None = None) -> str:
        return str(kind)

    assert draw(None) == "None" and draw("dots") == "dots"
    with pytest.raises(OutskirtsError, match=r"kind must be one of dots, lines, None, not 3\."):
        draw(3)  # type: ignore[arg-type]


def test_a_new_detector_is_checked_without_a_word(monkeypatch):
    monkeypatch.setattr(detectors, "_parts", dict(detectors._parts))

    @osk.detectors.register("odd")
    class Odd(osk.detectors.Detector):
        def __init__(self, side: Literal["left", "right"] = "left") -> None:
            super().__init__()

        def score(self, outputs: osk.Outputs) -> Tensor:
            return outputs.logits[:, 0]

    Odd("right")
    with pytest.raises(OutskirtsError, match="side of the detector 'odd' must be one of left, right, not 'up'"):
        Odd("up")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("detector", "sentence"),
    [
        ("knn:k=abc", "k of the detector 'knn' must be a whole number of at least 1, not 'abc'"),
        ("knn:k=2.5", "k of the detector 'knn' must be a whole number of at least 1, not 2.5"),
        ("knn:k=nan", "k of the detector 'knn' must be a whole number of at least 1, not 'nan'"),
        ("knn:k=.nan", "k of the detector 'knn' must be a whole number of at least 1, not nan"),
        ("knn:k=true", "k of the detector 'knn' must be a whole number of at least 1, not True"),
        ("knn:k=", "k of the detector 'knn' must be a whole number of at least 1, not None"),
        ("knn:k=0", "k of the detector 'knn' must be a whole number of at least 1, not 0"),
        ("odin:temperature=abc", "temperature of the detector 'odin' must be a number above 0, not 'abc'"),
        ("knn:space=7", "space of the detector 'knn' must be one of .*, not 7"),
    ],
)
def test_parameters_of_detectors_on_the_command_line(detector, sentence):
    with pytest.raises(OutskirtsError, match=sentence):
        osk.detectors.create(detector)


def test_whole_numbers_of_other_libraries_are_numbers():
    import numpy as np

    assert osk.detectors.KNN(k=np.int64(7)).k == 7
    assert osk.detectors.create("odin:temperature=10").temperature == 10


def test_every_stage_of_diffusion_is_checked():
    from outskirts.generation.diffusion_options import DreamDecode, Fit, SampleAtBoundary

    given = {"out": Path("o"), "run": Path("r"), "model": Path("m")}
    with pytest.raises(OutskirtsError, match="precision must be one of auto, bf16, fp32, not 'half'"):
        SampleAtBoundary(**given, precision="half")
    with pytest.raises(OutskirtsError, match="resize must be one of both, bilinear, nearest, not 'cubic'"):
        DreamDecode(**given, resize="cubic")
    with pytest.raises(OutskirtsError, match=r"blocks must be a whole number, not 2\.5"):
        Fit(out=Path("o"), blocks=2.5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: osk.evaluate(3, {}), "id_outputs must be of the type Outputs, not 3"),
        (lambda: osk.evaluate_run("run", "test", 3), "ood must be a mapping or None, not 3"),
        (lambda: osk.evaluate_run("run", "test", say=3), "say must be a function, not 3"),
        (lambda: osk.train("ce", "images", model=3), "model must be of the type Module or None, not 3"),
        (lambda: osk.train("ce", "images", out=3), "out must be a path or a text or None, not 3"),
        (lambda: osk.train("ce", "images", progress=3), "progress must be a function or None, not 3"),
        (lambda: osk.detectors.create({"nme": "knn"}), r"a mapping such as \{'name': 'knn', 'k': 10\}, .* not \{'nme'"),
        (lambda: osk.detectors.create(3), "A detector is a name such as 'knn:k=10', .*, not 3"),
        (lambda: osk.detectors.create(("knn", "k")), "A detector is a name"),
    ],
)
def test_things_of_another_kind_are_refused(call, told):
    with pytest.raises(OutskirtsError, match=told):
        call()
