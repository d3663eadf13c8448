"""What may not be read is called that, and never missing or damaged, whoever asks for it."""

import shutil

import numpy as np
import pytest

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.benchmark import load_benchmark
from outskirts.data.sources import open as open_images
from outskirts.evaluation.results import Results
from outskirts.models.weights import read_state
from outskirts.reporting import report
from outskirts.training.run import Run


def refused(forbidden, path, read):
    forbidden(path)
    with pytest.raises(
        OutskirtsError, match=r"not readable: permission denied|cannot be read .*Permission denied"
    ) as told:
        read()
    said = str(told.value)
    assert path.name in said and not any(word in said for word in ("missing", "damaged", "no file", "not exist"))


@pytest.mark.parametrize("kind", ["npy", "npz", "imglist", "csv", "zip", "wds"])
def test_image_sets(tmp_path, forbidden, kind):
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    np.savez(tmp_path / "x.npz", images=pixels)
    (tmp_path / "x.imglist").write_text("a.png 0\n")
    (tmp_path / "x.csv").write_text("image,label\na.png,0\n")
    for other in ("zip", "wds"):
        (tmp_path / f"x.{other}").touch()
    path = tmp_path / f"x.{kind}"
    spec = f"{kind}:{path}" + (f"@{tmp_path}" if kind in ("imglist", "csv") else "")
    refused(forbidden, path, lambda: open_images(spec))


def test_a_picture(bugs, forbidden):
    path = next((bugs / "test" / "ant").glob("*.png"))
    images = open_images(bugs / "test")
    refused(forbidden, path, lambda: [images[i] for i in range(len(images))])


def test_a_benchmark(tmp_path, forbidden):
    (tmp_path / "x.yaml").write_text("description: x\n")
    refused(forbidden, tmp_path / "x.yaml", lambda: load_benchmark(tmp_path / "x.yaml"))


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_runs(tmp_path, finished, forbidden, name):
    run = shutil.copytree(finished, tmp_path / "run")
    refused(forbidden, run / name, lambda: osk.load(run))


def test_the_log_of_a_run(tmp_path, finished, forbidden):
    run = shutil.copytree(finished, tmp_path / "run")
    refused(forbidden, run / "metrics.jsonl", lambda: list(Run(run).records()))


def test_results_and_reports(tmp_path, forbidden):
    (tmp_path / "results.csv").write_text("x")
    (tmp_path / "config.yaml").write_text("method: ce\n")
    refused(forbidden, tmp_path / "results.csv", lambda: Results.load(tmp_path))
    with pytest.raises(OutskirtsError, match=r"results.csv is not readable"):
        report(tmp_path)


def test_weights(tmp_path, forbidden):
    for name in ("x.pt", "x.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    refused(forbidden, tmp_path / "x.pt", lambda: read_state(tmp_path / "x.pt"))
