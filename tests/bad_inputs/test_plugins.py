"""Parts of other packages that fail, wherever they do, end a command in one sentence that names them."""

import sys
from importlib.metadata import EntryPoint

import pytest

from outskirts import detectors, methods, registry
from outskirts.generation import generators

_BODY = "from dataclasses import dataclass\nimport torch\nfrom outskirts.{group} import *\n"
_DETECTOR = _BODY.format(group="detectors") + "class Part(Detector):\n    "
_METHOD = _BODY.format(group="methods") + "class Part(Method):\n    "
_GENERATOR = _BODY.format(group="generation.generators") + "class Part(ImageGenerator):\n    "

_EVALUATE = "evaluate run --test test --far fog=fog --detectors broken"
_TRAIN = "train broken --data train --val val --epochs 1 --batch-size 4 --out out"
_GENERATE = "synthesize id --generator broken --data train --count 4 --out out"

#: What a plug-in's module holds, the command that finds it, and what the sentence says.
BROKEN = {
    "import": ("1 / 0", _EVALUATE, "cannot be imported: division by zero. Mend or uninstall"),
    "exit": ("raise SystemExit(3)", _EVALUATE, "cannot be imported: 3."),
    "syntax": ("class", "list detectors", "cannot be imported: "),
    "no class": ("Part = 3", _EVALUATE, "is no subclass of Detector"),
    "another class": ("class Part: pass", _EVALUATE, "is no subclass of Detector"),
    "unfinished": (
        _DETECTOR + "pass",
        _EVALUATE,
        "'broken' that another package offers as broken_part:Part lacks score.",
    ),
    "building": (_DETECTOR + "def __init__(self): 1 / 0\n    def score(self, o): pass", _EVALUATE, "'broken'"),
    "listing": (_DETECTOR + "def __init__(self): 1 / 0\n    def score(self, o): pass", "list detectors", "'broken'"),
    "fitting": (
        _DETECTOR + "fit_on = 'train'\n    def fit(self, o): 1 / 0\n    def score(self, o): pass",
        _EVALUATE,
        "detector 'broken' of another package failed (ZeroDivisionError: division by zero)",
    ),
    "scoring": (_DETECTOR + "def score(self, outputs): return outputs.nothing", _EVALUATE, "failed (AttributeError"),
    "nothing": (_DETECTOR + "def score(self, outputs): pass", _EVALUATE, "gave a NoneType for 'id'"),
    "one score": (_DETECTOR + "def score(self, outputs): return torch.zeros(1)", _EVALUATE, "of shape (1,) for 'id'"),
    "NaN": (_DETECTOR + "def score(self, o): return o.logits[:, 0] * float('nan')", _EVALUATE, "gave NaN"),
    "head": (_METHOD + "def head(*given): 1 / 0\n    def step(self, batch): pass", _TRAIN, "'broken'"),
    "step": (_METHOD + "def step(self, batch): 1 / 0", _TRAIN, "method 'broken' of another package failed"),
    "no loss": (_METHOD + "def step(self, batch): return {}", _TRAIN, "must give its loss"),
    "no gradient": (_METHOD + "def step(self, b): return {'loss': torch.zeros(())}", _TRAIN, "must give its loss"),
    "infinite": (
        _METHOD + "def step(self, b): return {'loss': self.classifier(b.images).sum() * float('inf')}",
        _TRAIN,
        "The loss is inf",
    ),
    "generator": (_GENERATOR + "def fit(self, *a): 1 / 0\n    def sample(self, *a): pass", _GENERATE, "'broken'"),
    "no images": (
        _GENERATOR + "def fit(self, *a): return self\n    def sample(self, *a): pass",
        _GENERATE,
        "gave a NoneType",
    ),
    "few images": (
        _GENERATOR + "def fit(self, *a): return self\n    def sample(self, *a): return torch.zeros(1)",
        _GENERATE,
        "gave a tensor of shape (1,)",
    ),
}


@pytest.fixture
def offered(monkeypatch, tmp_path):
    """Makes the detectors, methods and generators find the class Part of a module, under the name broken."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_FOREIGN", {})
    kinds = (detectors.registry, methods.registry, generators.registry)

    def offer(text: str) -> None:
        (tmp_path / "broken_part.py").write_text(text + "\n")
        kind = kinds[1] if "Method" in text else kinds[2] if "Generator" in text else kinds[0]
        kind.names()
        monkeypatch.setattr(kind, "_parts", {**kind._parts})
        monkeypatch.setattr(kind, "_discovered", False)
        points = {kind.package: [EntryPoint("broken", "broken_part:Part", kind.package)]}
        monkeypatch.setattr(registry, "entry_points", lambda group: points.get(group, ()))

    yield offer
    sys.modules.pop("broken_part", None)


@pytest.mark.parametrize("case", BROKEN)
def test_a_plugin_that_fails_is_named(case, offered, here, outskirts):
    text, line, said = BROKEN[case]
    offered(text)
    here()
    outcome = outskirts(*line.split())
    assert outcome.code == 2 and "Traceback" not in outcome.err and said in outcome.err, outcome.err
