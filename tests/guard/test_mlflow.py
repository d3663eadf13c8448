"""A guard as a model of MLflow, in a local store."""

from pathlib import Path

import numpy as np
import pytest

from outskirts import OutskirtsError

mlflow = pytest.importorskip("mlflow")
pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model(kept, tmp_path_factory):
    from outskirts.guard.mlflow import save_model

    folder = tmp_path_factory.mktemp("mlflow") / "model"
    save_model(kept, folder)
    return folder


def test_nothing_is_pickled(model, kept):
    names = {path.name for path in model.rglob("*") if path.is_file()}
    assert {"MLmodel", "guard.json", "classifier.safetensors"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    text = (model / "MLmodel").read_text()
    assert "loader_module: outskirts.guard.mlflow" in text and "python_model" not in text
    assert "torch==" in (model / "requirements.txt").read_text()


def test_it_says_what_the_guard_says(model, guard, bugs, tmp_path):
    files = sorted((bugs / "fog").rglob("*.png"))
    (tmp_path / "broken.png").write_text("no picture")
    loaded = mlflow.pyfunc.load_model(str(model))
    frame = pd.DataFrame({"image": [*map(str, files), str(tmp_path / "broken.png")]}, index=range(5, 6 + len(files)))
    said = loaded.predict(frame)
    expected = guard.predict(files)
    assert list(said.index) == list(frame.index) and list(said["file"][:-1]) == [one.file for one in expected]
    assert said["p_value"].tolist()[:-1] == expected.p_values.tolist()
    assert said["accepted"].tolist()[:-1] == expected.accepted.tolist()
    assert "cannot be decoded" in said["error"].iloc[-1] and pd.isna(said["score"].iloc[-1])


def test_it_takes_pixels_and_bytes(model, guard, bugs):
    from PIL import Image

    files = sorted((bugs / "fog").rglob("*.png"))
    pixels = [np.asarray(Image.open(file)) for file in files]
    loaded = mlflow.pyfunc.load_model(str(model))
    expected = guard.predict(files).p_values.tolist()
    for given in (
        np.stack(pixels),
        pd.DataFrame({"image": pixels}),
        pd.DataFrame({"image": [one.tolist() for one in pixels]}),
        pd.DataFrame({"image": [file.read_bytes() for file in files]}),
    ):
        assert loaded.predict(given)["p_value"].tolist() == expected
    assert len(loaded.predict(pd.DataFrame({"image": []}))) == 0
    with pytest.raises(OutskirtsError, match="a DataFrame of one column"):
        loaded.predict(pd.DataFrame({"a": ["x"], "b": ["y"]}))


def test_it_is_logged_to_a_local_store(kept, bugs, tmp_path, monkeypatch):
    from outskirts.guard.mlflow import log_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(Path(tmp_path / "runs").as_uri())
    with mlflow.start_run():
        logged = log_model(kept, name="bugs")
    said = mlflow.pyfunc.load_model(logged.model_uri).predict(pd.DataFrame({"image": [str(bugs / "fog" / "0.png")]}))
    assert len(said) == 1 and 0 < said["p_value"][0] <= 1


def test_a_folder_without_a_guard_is_told(tmp_path):
    from outskirts.guard.mlflow import save_model

    with pytest.raises(OutskirtsError, match=r"guard\.json is missing"):
        save_model(tmp_path, tmp_path / "model")
