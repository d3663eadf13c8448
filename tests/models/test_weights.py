"""Weights from elsewhere are read as data; nobody is advised to run what is in them."""

import ast
import traceback
from pathlib import Path

import pytest
import torch

from outskirts.errors import OutskirtsError, reason
from outskirts.models.weights import read_checkpoint, read_state

SOURCE = Path(__file__).parents[2] / "src" / "outskirts"


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_is_not_run_and_its_reader_gives_no_advice(tmp_path):
    for content in ({"a": Evil(tmp_path / "ran")}, Evil(tmp_path / "ran"), torch.nn.Linear(1, 1)):
        torch.save(content, tmp_path / "evil.pt")
        with pytest.raises(OutskirtsError, match="is not a state dict that can be read safely") as told:
            read_checkpoint(tmp_path / "evil.pt")
        assert "weights_only" not in "".join(traceback.format_exception(told.value))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02", b"PK\x03\x04" + bytes(30)])
def test_damaged_files_are_told_without_advice(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(OutskirtsError, match=r"x.pt is not a state dict") as told:
        read_state(tmp_path / "x.pt")
    assert "weights_only" not in str(told.value)


def test_what_may_not_be_read_is_not_called_missing(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")

    def refuse(*given, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(OutskirtsError, match=r"x.pt is not readable: permission denied"):
        read_checkpoint(tmp_path / "x.pt")
    with pytest.raises(OutskirtsError, match="do not exist"):
        read_checkpoint(tmp_path / "none.pt")


def test_advice_of_libraries_is_left_out():
    assert "weights_only" not in reason(RuntimeError("Re-running `torch.load` with `weights_only` set to `False` will"))
    assert "trust_remote_code" not in reason(ValueError("please pass `trust_remote_code=True`"))
    assert len(reason(ValueError("x" * 1000))) == 300


def test_nothing_is_unpickled():
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called == "torch.load":
                assert given.get("weights_only") == "True", file
            assert given.get("trust_remote_code", "False") == "False" and called not in ("pickle.load", "pickle.loads")
            assert given.get("allow_pickle", "False") == "False", file
            assert "custom_pipeline" not in given, file
