import pytest
import torch

import outskirts as osk
from outskirts.errors import OutskirtsError


def test_the_command_and_the_call_do_the_same(outskirts, clip_folder, bugs, tmp_path):
    said, done = [], []
    tokens = osk.extract_tokens(
        f"clip:{clip_folder}", bugs / "test", tmp_path / "call", shard=8, device="cpu",
        say=said.append, progress=lambda *told: done.append(told),
    )  # fmt: skip
    assert tokens.spec == f"tokens:{tmp_path / 'call'}" and len(tokens) == 20 and tokens.classes == ["ant", "bee"]
    assert said == [f"20 images in {tmp_path / 'call'}; open them as tokens:{tmp_path / 'call'}"]
    assert done == [("extracting", count, 20) for count in (8, 16, 20)]
    outcome = outskirts(
        "data", "extract", "--backbone", f"clip:{clip_folder}", "--data", bugs / "test", "--out", tmp_path / "command",
        "--shard", 8, "--device", "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    again = osk.open(f"tokens:{tmp_path / 'command'}")
    assert again.fingerprint == tokens.fingerprint
    assert all(torch.equal(again.image(i), tokens.image(i)) for i in range(20))
    assert sorted(path.name for path in (tmp_path / "command").iterdir()) == sorted(
        path.name for path in (tmp_path / "call").iterdir()
    )


def test_images_may_be_left_out(clip_folder, draw, tmp_path):
    draw(tmp_path / "set", count=3)
    (tmp_path / "set" / "ant" / "1.png").write_bytes(b"no picture")
    images, said = osk.open(tmp_path / "set"), []
    tokens = osk.extract_tokens(
        f"clip:{clip_folder}", images, f"{tmp_path / 'out'}", device="cpu", skip_corrupt=True, say=said.append
    )
    assert len(tokens) == 5 and said[0].startswith("1 image could not be decoded")


def test_what_cannot_be(bugs, tmp_path):
    for options, match in (({"shard": 0}, "shard must be at least 1"), ({}, "Only CLIP models")):
        with pytest.raises(OutskirtsError, match=match):
            osk.extract_tokens("resnet18", bugs / "test", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
