from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch

from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.leaderboard import Group, LeaderboardRow, _backbone, holm
from outskirts.benchmarking.matrix import Matrix
from outskirts.benchmarking.render import render, table
from outskirts.benchmarking.run_job import run_job
from outskirts.data.benchmark import load_benchmark
from outskirts.evaluation.metrics import auroc
from outskirts.evaluation.results import Results
from outskirts.files import load_json
from outskirts.reporting.seeds import Spread


@pytest.fixture(scope="module")
def jobs(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("matrix")
    made = plan(load_benchmark(bench), ["ce", "ascood"], [0, 1], out, detectors=["msp", "energy", "react"])
    for job in made:
        assert run_job(job) == ""
    return made


def matrix(jobs):
    return Matrix("bugs", "", "", "", jobs)


def test_means_over_seeds_of_the_detector_that_validation_chose(jobs):
    lines = matrix(jobs).leaderboard
    assert [line.label for line in lines] == ["ce", "ascood"] and lines[0].seeds == (0, 1)
    for line in lines:
        found = [Results.load(job.folder) for job in jobs if job.label == line.label]
        best = {
            name: fmean(max(row.auroc for row in one.tuning if row.detector == name) for one in found)
            for name in ("msp", "energy", "react")
        }
        assert line.detector == max(best, key=best.__getitem__)
        for group, dataset in (("near", "flies"), ("far", "fog")):
            rows = []
            for one in found:
                tuned = max((r for r in one.tuning if r.detector == line.detector), key=lambda row: row.auroc)
                rows += [
                    row
                    for row in one.rows
                    if (row.detector, row.params, row.dataset) == (tuned.detector, tuned.params, dataset)
                ]
            aurocs = [row.auroc for row in rows]
            assert len(aurocs) == 2
            assert line.groups[group].auroc == pytest.approx((np.mean(aurocs), np.std(aurocs, ddof=1), 2))
        assert line.images == 2 * 38 and line.minutes > 0


def test_the_first_is_the_baseline(jobs):
    first, second = matrix(jobs).leaderboard
    assert all(group.difference is None and group.p_value is None for group in first.groups.values())
    for name, group in second.groups.items():
        assert group.difference == pytest.approx(group.auroc.mean - first.groups[name].auroc.mean)
    assert sorted([first.rank, second.rank])[0] == 1


def test_runs_that_are_not_there_are_left_out(jobs):
    assert [line.seeds for line in matrix(jobs[:3]).leaderboard] == [(0, 1), (0,)]
    absent = replace(jobs[0], folder=jobs[0].folder.with_name("none"))
    assert matrix([absent]).leaderboard == []


def test_holm():
    p = [0.01, 0.013, 0.014, 0.19, 0.35, 0.5, 0.63, 0.67, 0.75, 0.81]
    # By the definition: the smallest times 10, the next times 9, and never below one before.
    expected = [0.1, 0.117, 0.117, 1, 1, 1, 1, 1, 1, 1]
    assert holm(p) == pytest.approx(expected) and holm(p[::-1]) == pytest.approx(expected[::-1]) and holm([]) == []


def test_controls_are_not_to_be_told():
    def of(auroc: float) -> Group:
        return Group(Spread(auroc, 0, 1), 0, Spread(0, 0, 1), Spread(0, 0, 1))

    line = LeaderboardRow("ce", "msp", (0,), None, {"near": of(0.8), "far": of(0.9), "control": of(0.5)}, 1, 1)
    assert line.auroc == pytest.approx(0.85)


def test_shifted_images_and_the_worst_group(shifted):
    jobs = shifted
    lines = matrix(jobs).leaderboard
    for line, job in zip(lines, jobs):
        assert line.worst.mean == min(group["accuracy"] for group in load_json(job.folder / "groups.json"))
        assert list(line.groups) == ["near", "shifted", "near (full-spectrum)"]
        # Neither shifted images as such nor what is measured with them takes part in the rank.
        assert line.auroc == line.groups["near"].auroc.mean
    scores = [Results.load(job.folder).scores["msp"] for job in jobs]
    known = [torch.cat([of["id"], of["faint"], of["grainy"]]) for of in scores]
    difference = auroc(known[1], scores[1]["flies"]) - auroc(known[0], scores[0]["flies"])
    assert lines[1].groups["near (full-spectrum)"].difference == pytest.approx(difference)
    assert "worst group" in table(lines)[0]


def test_networks_and_budgets_are_named_where_they_differ():
    def of(backbone: str, epochs: int, images: int) -> LeaderboardRow:
        group = Group(Spread(0.9, 0, 1), 0, Spread(0, 0, 1), Spread(0, 0, 1))
        return LeaderboardRow("ce", "msp", (0,), None, {"far": group}, 1, images, backbone=backbone, epochs=epochs)

    small, large = of("fast", 16, 100), of("torchvision:resnet34, 224 px, pretrained", 16, 200)
    header, rows = table([small, large])
    assert header[-3:] == ["minutes a run", "backbone", "images"]
    assert [row[-2:] for row in rows] == [["fast", "100"], ["torchvision:resnet34, 224 px, pretrained", "200"]]
    assert "not all trained with one network" in render([small, large], "markdown")
    header, rows = table([small, replace(small, epochs=20)])
    assert header[-3:] == ["minutes a run", "epochs", "images"] and [row[-2] for row in rows] == ["16", "20"]
    assert table([small, small])[0][-2:] == ["minutes a run", "images"]
    assert "not all trained with one network" not in render([small, small], "html")


def test_the_network_is_that_of_the_run(jobs):
    line = matrix(jobs).leaderboard[0]
    assert line.backbone.startswith("fast, ") and line.backbone.endswith(" px") and line.epochs == 2
    known = _backbone({"backbone": "clip:/models/vit?frozen=8", "size": 224, "pretrained": None})
    assert known == "clip:vit?frozen=8, 224 px"
    assert _backbone({"backbone": "torchvision:resnet18", "pretrained": "true"}) == "torchvision:resnet18, pretrained"
