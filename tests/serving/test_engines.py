"""What computes verdicts in a process of the server."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.serving.engines import Engine, make_engine
from outskirts.serving.options import Computing
from outskirts.serving.uploads import Upload


@pytest.fixture(scope="module")
def guard(kept):
    return osk.Guard.load(kept)


def png(pixels):
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def uploads():
    """Pictures of two sizes, one of them grey, pixels, and what is no picture."""
    draws = np.random.default_rng(0)
    small, large = (draws.integers(0, 256, (side, side, 3), np.uint8) for side in (16, 24))
    return [
        Upload("small", png(small)),
        Upload("large", png(large)),
        Upload("small", png(small[::-1])),
        Upload("text", b"no picture"),
        Upload("pixels", small),
        Upload("grey", png(small[..., 0])),
    ]


def test_torch_says_what_the_guard_says(kept, guard, uploads):
    rows = make_engine(kept, Computing())(uploads, 2)
    assert [row["file"] for row in rows] == [upload.name for upload in uploads]
    assert rows[3]["error"] == "text cannot be decoded (cannot identify image file)."
    shown = [Image.open(BytesIO(one.content)) if isinstance(one.content, bytes) else one.content for one in uploads[:3]]
    verdicts = guard.predict([*shown, uploads[4].content, Image.open(BytesIO(uploads[5].content))], top=2)
    read = [row for row in rows if "error" not in row]
    for name, values in (("score", verdicts.scores), ("p_value", verdicts.p_values), ("accepted", verdicts.accepted)):
        assert [row[name] for row in read] == values.tolist()


def test_onnx_says_what_the_exported_file_says(kept, guard, uploads, tmp_path):
    """Bit for bit, where the same pictures are in a batch: those of one size."""
    onnxruntime = pytest.importorskip("onnxruntime")
    rows = make_engine(kept, Computing(engine="onnx", threads=1))(uploads, 2)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(guard.export(tmp_path / "g.onnx").path, options)
    names = ("score", "p_value", "accepted")
    small = [Image.open(BytesIO(uploads[place].content)).convert("RGB") for place in (0, 2)]
    pixels = np.stack([*map(np.asarray, small), uploads[4].content, np.asarray(small[0])[..., :1].repeat(3, 2)])
    for places, given in (((0, 2, 4, 5), pixels), ((1,), np.asarray(Image.open(BytesIO(uploads[1].content)))[None])):
        for name, values in zip(names, session.run(names, {"pixels": given})):
            assert [rows[place][name] for place in places] == values.tolist()
    assert "cannot be decoded" in rows[3]["error"] and rows[0]["label_2"] in guard.classifier.classes


def test_pictures_of_too_many_pixels_are_not_decoded(guard, uploads):
    rows = Engine(guard, "v", Computing(pixels=20 * 20))(uploads, 1)
    assert rows[1]["error"] == "large has 24x24 pixels, and at most 400 are read here."
    assert ["error" in row for row in rows] == [False, True, False, True, False, False]
    few = Engine(guard, "v", Computing(pixels=1))(uploads, 1)
    assert all("error" in row for row in few)


def test_nearest_training_images(guard, bugs, uploads):
    train = osk.open(bugs / "train")
    engine = Engine(guard, "v", Computing(train=str(bugs / "train")))
    copy = Upload("copy", train.items[int(train.index[7])].read_bytes())
    rows = engine([uploads[3], copy], 1, near=50)
    assert "near" not in rows[0] and len(rows[1]["near"]) == len(train)
    first = rows[1]["near"][0]
    assert first["distance"] < 1e-3 and first["label"] == train.classes[int(train.labels[7])]
    assert first["name"] == "/".join(train.name(7).split("/")[-2:])
    assert "near" not in engine([copy], 1)[0]


def test_more_classes_than_there_are(guard, uploads):
    for kind in ("torch", "onnx"):
        with pytest.raises(OutskirtsError, match="top is a number from 1 to 2"):
            Engine(guard, "v", Computing(engine=kind))(uploads[:1], 3)
