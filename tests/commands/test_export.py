"""``outskirts export``."""

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def kept(guarded, bugs, tmp_path_factory):
    """The folder of a guard; not to be changed."""
    import outskirts as osk

    folder = tmp_path_factory.mktemp("kept") / "guard"
    osk.Guard.fit(guarded, calibration=bugs / "test", detector="energy", acceptance=0.8).save(folder)
    return folder


@pytest.mark.slow
def test_a_file_is_written_and_told(kept, bugs, outskirts, tmp_path):
    done = outskirts("export", kept, "--out", tmp_path / "made.onnx", "--verify", bugs / "fog")
    assert done.code == 0, done.err
    assert done.out.startswith("On 12 images of 1 size, the largest difference to the guard is ")
    assert f"File: {tmp_path / 'made.onnx'}" in done.err
    done = outskirts("export", kept, "--out", tmp_path / "made.pt2", "--torch")
    assert done.code == 0 and done.out.startswith("On 10 images of 5 sizes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.onnx", "made.pt2"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--out", "made.txt"), "ends in .onnx"),
        (("--out", "made.onnx", "--torch"), "ends in .pt2"),
        (("--out", "made.onnx", "--int8"), "pass both"),
        (("--out", "made.onnx", "--verify", "nowhere"), "nowhere"),
    ],
)
def test_what_is_wrong_is_a_sentence(kept, refused, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused("export", kept, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_guard(refused, tmp_path):
    assert "not the folder of a guard" in refused("export", tmp_path, "--out", tmp_path / "made.onnx")
