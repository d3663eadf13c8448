"""What files hold is compared with what they should; readers say where it differs."""

import pytest
import torch

from outskirts import OutskirtsError
from outskirts.contents import misfit, plain_value, read_yaml
from outskirts.data.sources import open as open_images
from outskirts.files import load_json
from outskirts.models.weights import read_state


@pytest.mark.parametrize(
    ("content", "kind", "clause"),
    [
        (True, int, "it is True, not a whole number"),
        (3, float, ""),
        (None, (str, None), ""),
        ([], {"a": int}, "it is [], not names with values"),
        ({1: 2}, {"a": (int, None)}, "it has 1 for a name, not a text"),
        ({"a": {"b": 1.5}}, {"a": {str: int}}, "b of its a is 1.5, not a whole number"),
    ],
)
def test_a_clause_says_what_differs(content, kind, clause):
    assert misfit(content, kind) == clause


def test_values_that_do_not_end(tmp_path):
    with pytest.raises(OutskirtsError, match="is not a value"):
        plain_value("[1")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(OutskirtsError, match="not valid JSON"):
        load_json(tmp_path / "deep.json")


def test_a_list_in_another_encoding(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"k\xe4fer.png 0\n")
    with pytest.raises(OutskirtsError, match="save it in UTF-8"):
        open_images(f"imglist:{tmp_path}/list.txt@{tmp_path}")


def test_numbers_for_the_names_of_weights(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(OutskirtsError, match="named tensors only"):
        read_state(tmp_path / "weights.pt")


@pytest.mark.parametrize("text", ["lr: 1\nlr: 2\n", "a:\n  - b: 1\n    b: 1\n"])
def test_a_name_given_twice_in_yaml_is_told(text):
    with pytest.raises(ValueError, match=r"it has the name '(lr|b)' twice"):
        read_yaml(text)


def test_yaml_may_repeat_itself_within_bounds():
    assert read_yaml("base: &b {lr: 1, epochs: 2}\nown:\n  <<: *b\n  lr: 3\n")["own"] == {"lr": 3, "epochs": 2}
    bomb = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]\n" for i in range(12))
    for text in (bomb, "a: &a [*a]"):
        with pytest.raises(ValueError, match="with its aliases it holds more than 1,000,000 values"):
            read_yaml(text)
