import io
import json
import zipfile

import pytest
import torch
from torch import nn

from outskirts.errors import OutskirtsError
from outskirts.models.given import given_classifier, parse_model
from outskirts.models.given.pickles import require_harmless

STATED = "size=8&mean=0.5,0.5,0.5&std=0.5,0.5,0.5"


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.fixture
def saved(tmp_path):
    program = torch.export.export(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(),
        (torch.zeros(2, 3, 8, 8),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, tmp_path / "m.pt2")
    return tmp_path / "m.pt2"


def rewritten(saved, change):
    """The same file with other members: what `change` gives for a name and its content."""
    out = saved.with_name("changed.pt2")
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return out


def pickled(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_what_torch_writes_is_read(saved):
    require_harmless(saved)
    assert given_classifier(parse_model(f"{saved}?{STATED}")).dim == 192


@pytest.mark.parametrize("place", ["inputs", "weights"])
def test_a_pickle_that_would_run_a_program_is_not_read(saved, tmp_path, place):
    harm = pickled(Harm(tmp_path / "harmed"))

    def change(name, content):
        if place == "inputs":
            return harm if name.endswith(".pt") else content
        if name.endswith("model_weights_config.json"):
            about = json.loads(content)
            for one in about["config"].values():
                one["use_pickle"] = True
            return json.dumps(about)
        return harm if name.endswith("weight_0") else content

    file = rewritten(saved, change)
    if file.read_bytes() == saved.read_bytes():
        pytest.skip("this version of torch writes no such part")
    with pytest.raises(OutskirtsError, match="is a pickle of more than tensors, which could run a program"):
        given_classifier(parse_model(f"{file}?{STATED}"))
    assert not (tmp_path / "harmed").exists()
