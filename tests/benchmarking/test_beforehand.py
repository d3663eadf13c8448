"""What runs would be refused for at their end is refused before any training."""

from dataclasses import replace
from pathlib import Path

import pytest

import outskirts as osk
from outskirts.benchmarking import run_job as module
from outskirts.benchmarking.beforehand import require_measurable
from outskirts.benchmarking.jobs import Job
from outskirts.data.benchmark import load_benchmark
from outskirts.methods import registry


def refusal(monkeypatch, benchmark, out, **asked):
    """What a benchmark is refused with, its trainings being none."""
    monkeypatch.setattr(module, "train", None)
    with pytest.raises(osk.OutskirtsError) as error:
        osk.benchmark(benchmark, seeds=[0], out=out, **asked)
    assert not out.exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("group", "name", "said"),
    [
        ("../far", "fog", "A group of OOD sets cannot be called '../far'"),
        ("", "fog", "A group of OOD sets cannot be called ''"),
        ("tuning", "fog", "A group of OOD sets cannot be called 'tuning'"),
        ("g" * 151, "fog", "A group of OOD sets cannot be called 'gggg"),
        *(("far", name, f"An OOD set cannot be called '{name}'") for name in ("id", "mean", "val", "train", "a b")),
    ],
)
def test_names(bench, tmp_path, monkeypatch, group, name, said):
    benchmark = replace(load_benchmark(bench), ood={group: {name: load_benchmark(bench).ood["far"]["fog"]}})
    assert said in refusal(monkeypatch, benchmark, tmp_path / "out", detectors="msp")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test": "train"}, "of 'id' (SPEC) are also among the training images"),
        ({"ood": {"far": {"copies": "test"}}}, "of 'copies' (SPEC) are also among the ID test images"),
        ({"ood": {"far": {"copies": "train"}}}, "of 'copies' (SPEC) are also among the training images"),
        ({"ood": {"shifted": {"strange": "flies"}}}, "classes that the training set lacks: fly"),
        ({"val": "test"}, "of 'id' are also validation images (SPEC), on which parameters would be chosen"),
        ({"tune_on": "fog"}, "of the images to choose parameters on (SPEC) are also in the set 'fog'"),
    ],
    ids=str,
)
def test_images(bench, bugs, tmp_path, monkeypatch, changed, said):
    def placed(value):
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        return str(bugs / value)

    benchmark = replace(load_benchmark(bench), **placed(changed))
    found = refusal(monkeypatch, benchmark, tmp_path / "out", detectors="msp")
    before, _, after = said.partition("SPEC")
    assert before in found and after in found


def test_detectors_that_no_classifier_of_a_method_can_serve(bench, tmp_path, monkeypatch):
    said = refusal(
        monkeypatch, bench, tmp_path / "out", methods=["godin", "ce"], detectors=["godin", "ood_head", "rotation"]
    )
    assert "trained by 'ce': godin needs numerators, which this classifier does not give; ood_head needs" in said
    assert "rotation needs rotation-errors, which this classifier does not give" in said


@pytest.mark.parametrize("method", registry.names())
def test_every_method_serves_the_detectors_that_it_is_published_with(method):
    options = {"data": "nowhere", **({"backbone": "clip:nowhere"} if method == "npos-clip" else {})}
    names = [one["name"] for one in registry[method].detectors(registry[method].Config())] or ["msp"]
    sets, ood = {"train": "folder:/nowhere", "test": "folder:/nowhere"}, {"far": {"fog": "folder:/nowhere"}}
    for detectors in (tuple(names), ("all",)):
        require_measurable([Job(method, None, 0, options, sets, ood, None, detectors, Path("nowhere") / "run")])
