"""Whoever reads what a command prints may leave at any time: that is no fault, and nothing is said about it."""

import os
import sys

import pytest

from outskirts.cli import COMMANDS, main

PRINTED = """
--help
--version
--print-completion bash
train ce --help
synthesize id --help
synthesize ncis --help
benchmark list
benchmark show cifar10
data fetch list
list
train nosuch
train ce --nosuch
nosuch
""".strip().splitlines()


@pytest.mark.parametrize("line", [*PRINTED, *(f"{command} --help" for command in COMMANDS)])
@pytest.mark.parametrize("errors", [False, True], ids=["output", "output and errors"])
def test_a_closed_pipe_is_no_fault(line, errors, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        if errors:
            monkeypatch.setattr(sys, "stderr", pipe)
        with pytest.raises(SystemExit) as ended:
            main(line.split())
    told = capsys.readouterr().err
    assert ended.value.code in ((2, 141) if "nosuch" in line else (1, 141))
    assert "Traceback" not in told and (told == "" or "nosuch" in line)
