"""Parquet files at URLs that fsspec knows."""

import io

import fsspec
import numpy as np
import pytest
from PIL import Image

import outskirts as osk
from outskirts.data.decode import CorruptImage
from outskirts.errors import OutskirtsError
from outskirts.guard.opening import opened

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def encoded(shade):
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def bucket():
    """A folder in memory with two files of two images, the last of which is named alone."""
    files = fsspec.filesystem("memory")
    for shard in range(2):
        images = [{"bytes": encoded(90 * shard + 40 * row), "path": f"{shard}-{row}.png"} for row in range(2)]
        if shard == 1:
            images[1]["bytes"] = None
        table = pa.table({"image": images, "label": [shard, shard]})
        with files.open(f"memory://bucket/set/train-{shard}.parquet", "wb") as stream:
            pq.write_table(table, stream)
    yield "memory://bucket/set"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_a_url_is_a_file_a_folder_or_a_pattern(bucket):
    for where, count in ((bucket, 4), (f"{bucket}/train-*.parquet", 4), (f"{bucket}/train-0.parquet", 2)):
        images = osk.open(f"parquet:{where}")
        assert len(images) == count and images.spec == f"parquet:{where}"
        assert [osk.open(images.spec).items[row] for row in range(2)] == [encoded(0), encoded(40)]
        assert len(opened(f"parquet:{where}?limit=2")) == 2
    assert images.labels.tolist() == [0, 0]
    grouped = osk.open(f"parquet:{bucket}?group=path:(.)-")
    assert grouped.group is not None and grouped.group.values == ("0", "1")


def test_an_image_beside_a_table_at_a_url_is_told(bucket):
    with pytest.raises(CorruptImage, match="row 3 of parquet:memory://bucket/set names a file"):
        osk.open(f"parquet:{bucket}").items[3]


def test_urls_without_a_table_are_told(bucket):
    fsspec.filesystem("memory").pipe_file("memory://bucket/set/bad.parquet", b"no table")
    for where, told in (
        ("memory://nowhere/*.parquet", "There is no Parquet file memory://nowhere"),
        (f"{bucket}/bad.parquet", r"bad\.parquet (cannot be read|is damaged)"),
        ("nowhere://x.parquet", r"nowhere://x\.parquet cannot be read"),
    ):
        with pytest.raises(OutskirtsError, match=told):
            osk.open(f"parquet:{where}")
