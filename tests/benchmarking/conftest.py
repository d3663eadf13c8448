"""A benchmark of the bugs whose runs take a second each."""

from pathlib import Path

import pytest
import yaml

from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.run_job import run_job
from outskirts.data.benchmark import Benchmark

SMALL = {"epochs": 2, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "flip,crop:1"}


@pytest.fixture(scope="session")
def bench(bugs, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("bench") / "bugs.yaml"
    content = {
        "description": "Bugs.",
        "train": str(bugs / "train"),
        "test": str(bugs / "test"),
        "ood": {"near": {"flies": str(bugs / "flies")}, "far": {"fog": str(bugs / "fog")}},
        "recipes": {"all": SMALL, "ascood": {"outliers": "shuffle", "p_inv": 0.2}},
        "variants": {"plain": {"augment": "none"}},
    }
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="session")
def shifted(bugs, tmp_path_factory):
    """Two finished runs on a benchmark with shifted images, whose test images are known by day and dusk."""
    root = tmp_path_factory.mktemp("shifted")
    lines = [f"{kind}/{i}.png,{kind},{('day', 'dusk')[i % 2]}" for kind in ("ant", "bee") for i in range(10)]
    (root / "test.csv").write_text("\n".join(["image,label,light", *lines]))
    benchmark = Benchmark(
        "bugs",
        str(bugs / "train"),
        f"csv:{root / 'test.csv'}@{bugs / 'test'}?attribute=light",
        {
            "near": {"flies": str(bugs / "flies")},
            "shifted": {"faint": f"{bugs / 'test'}?contrast=50", "grainy": f"{bugs / 'test'}?noise=30"},
        },
        recipes={"all": SMALL},
    )
    jobs = plan(benchmark, ["ce", "ascood"], [0], root / "out", detectors=["msp"])
    for job in jobs:
        assert run_job(job) == ""
    return jobs
