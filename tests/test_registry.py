import sys
from importlib.metadata import EntryPoint

import pytest

from outskirts import registry as module
from outskirts.errors import MissingExtra, OutskirtsError, unknown
from outskirts.registry import Registry


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A registry over a package with two parts in two files."""
    package = tmp_path / "shapes_for_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from outskirts.registry import Registry\nregistry = Registry('shape', 'shapes_for_test')\n"
    )
    for name in ("circle", "square"):
        (package / f"{name}.py").write_text(
            f"from . import registry\n@registry.register('{name}')\nclass {name.title()}: pass\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda: __import__("shapes_for_test").registry
    for name in [name for name in sys.modules if name.startswith("shapes_for_test")]:
        del sys.modules[name]


def offer(monkeypatch, *points):
    monkeypatch.setattr(
        module, "entry_points", lambda group: [EntryPoint(name, value, group) for name, value in points]
    )


def test_parts_are_found_in_their_files_and_know_their_names(shapes):
    registry = shapes()
    assert registry.names() == ["circle", "square"]
    assert registry["circle"].name == "circle" and registry["circle"].__module__ == "shapes_for_test.circle"
    assert "shapes_for_test.square" in sys.modules


def test_a_mistyped_name_suggests_the_nearest(shapes):
    with pytest.raises(
        OutskirtsError, match=r"There is no shape 'sqare'; did you mean 'square'\? Known: circle, square\."
    ):
        shapes()["sqare"]


def test_two_parts_cannot_share_a_name():
    registry = Registry("shape", "nowhere")
    kept = registry.register("round")(type("Circle", (), {}))
    assert registry.register("round")(kept) is kept
    with pytest.raises(OutskirtsError, match="Two shapes call themselves 'round'"):
        registry.register("round")(type("Ball", (), {}))


def test_other_packages_add_theirs_by_entry_point(shapes, monkeypatch):
    offer(monkeypatch, ("ordered", "collections:OrderedDict"))
    monkeypatch.setattr("collections.OrderedDict", type("OrderedDict", (), {}))
    registry = shapes()
    assert registry.names() == ["circle", "ordered", "square"] and registry["ordered"].name == "ordered"


@pytest.mark.parametrize("value", ["no_such_module_at_all:Thing", "json:NoSuchThing"])
def test_entry_points_that_cannot_be_imported_are_told_every_time(shapes, monkeypatch, value):
    offer(monkeypatch, ("broken", value))
    registry = shapes()
    for _ in range(2):
        with pytest.raises(OutskirtsError, match=f"'broken' that another package offers as {value} cannot be"):
            registry["circle"]


def test_long_lists_of_names_are_not_recited():
    message = str(unknown("backbone", "resnet19", [f"resnet{i}" for i in range(0, 3000, 2)]))
    assert "did you mean 'resnet1" in message and "1500 are known" in message and len(message) < 120


def test_a_missing_extra_says_how_to_install_it():
    assert "pip install 'outskirts[hf]'" in str(MissingExtra("Reading parquet", "hf"))
