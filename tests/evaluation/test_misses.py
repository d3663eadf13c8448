import json

import numpy as np
import torch
from PIL import Image

from outskirts import Outputs
from outskirts.data.imageset import ImageSet
from outskirts.evaluation.misses import save_misses


def test_the_hardest_images_are_written(tmp_path):
    pixels = np.arange(8, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    sets = {
        "id": ImageSet(pixels[:4], torch.tensor([0, 1, 0, 1]), ["ant", "bee"]),
        "fog": ImageSet(pixels[4:]),
    }
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    outputs = {name: Outputs(torch.zeros(4, 2), logits) for name in sets}
    scores = {"id": torch.tensor([0.1, 0.9, 0.5, 0.2]), "fog": torch.tensor([0.4, 0.3, 0.8, 0.1])}
    (tmp_path / "misses").mkdir()
    (tmp_path / "misses" / "old.png").touch()
    (tmp_path / "misses.json").write_text('[{"image": "misses/old.png"}]')
    save_misses(tmp_path, "msp", scores, sets, outputs, ["ant", "bee"], count=2)
    entries = json.loads((tmp_path / "misses.json").read_text())
    assert [(e["dataset"], e["kind"], round(e["score"], 1), e["predicted"], e["label"]) for e in entries] == [
        ("id", "id rejected", 0.9, "bee", "bee"),
        ("id", "id rejected", 0.5, "ant", "ant"),
        ("fog", "ood accepted", 0.1, "bee", None),
        ("fog", "ood accepted", 0.3, "bee", None),
    ]
    shown = [int(np.asarray(Image.open(tmp_path / entry["image"]))[0, 0]) for entry in entries]
    assert shown == [1, 2, 7, 5]
    assert len(list((tmp_path / "misses").iterdir())) == 4


def test_pictures_that_it_did_not_write_are_kept(tmp_path):
    sets = {"id": ImageSet(np.zeros((2, 4, 4), np.uint8), torch.tensor([0, 1]), ["ant", "bee"])}
    outputs = {"id": Outputs(torch.zeros(2, 2), torch.zeros(2, 2))}
    (tmp_path / "misses").mkdir()
    (tmp_path / "misses" / "thesis.tex").write_text("mine")
    for _ in range(2):
        save_misses(tmp_path, "msp", {"id": torch.zeros(2)}, sets, outputs, ["ant", "bee"], count=1)
    assert sorted(path.name for path in (tmp_path / "misses").iterdir()) == ["id-0.png", "thesis.tex"]
