import io

import pytest
import torch
from rich.console import Console

import outskirts as osk


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def test_a_bar_understands_every_call(screen):
    with osk.progress("training", screen) as told:
        told(3, 10, {"epoch": 0.3, "loss": 0.5, "kind": "train"})
        (task,) = told.bar.tasks
        assert (task.completed, task.total, task.fields["figures"]) == (3, 10, "epoch 0.3  loss 0.500")
        told(4)
        assert (task.completed, task.total) == (4, 10)
        told("knn", 5, 20)
        assert (task.description, task.completed, task.total) == ("training knn", 5, 20)
    assert "training knn" in screen.file.getvalue()


def test_evaluation_is_followed(screen):
    outputs = osk.Outputs(torch.rand(4, 3), torch.rand(4, 3))
    with osk.progress(console=screen) as told:
        osk.evaluate(outputs, {"far": outputs}, ["msp", "energy"], progress=told)
        assert told.bar.tasks[0].description == "energy"


def test_it_is_silent_where_nobody_watches(capsys):
    with osk.progress("training") as told:
        told(1, 2)
    assert capsys.readouterr() == ("", "")
