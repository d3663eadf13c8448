"""Pictures in several blocks, and what one process says of them."""

import pytest

import outskirts as osk
from outskirts.guard import predicting
from outskirts.guard.predicting import predict_to

#: Images of a block.
CHUNK = 4


@pytest.fixture(scope="session")
def many(draw, tmp_path_factory):
    """Twenty-two pictures, of which two are none."""
    folder = draw(tmp_path_factory.mktemp("many") / "all", count=10, seed=4)
    (folder / "ant" / "00.png").write_text("no picture")
    (folder / "bee" / "7.jpg").write_bytes((folder / "bee" / "7.png").read_bytes()[:200])
    return folder


@pytest.fixture
def chunks(monkeypatch):
    monkeypatch.setattr(predicting, "_CHUNK", CHUNK)


@pytest.fixture(scope="session")
def alone(guard, many, tmp_path_factory):
    """The rows that one process writes of the same blocks, and how many images of each kind there are."""
    pq = pytest.importorskip("pyarrow.parquet")
    file = tmp_path_factory.mktemp("alone") / "v.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predicting, "_CHUNK", CHUNK)
        summary = predict_to(guard, osk.open(many), file, top=2, device="cpu")
    return pq.read_table(file).to_pylist(), summary


@pytest.fixture
def rows_in():
    """Reads the rows of a folder, in the order of its parts."""
    pq = pytest.importorskip("pyarrow.parquet")
    return lambda folder: [row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part).to_pylist()]
