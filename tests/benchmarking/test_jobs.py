import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import outskirts as osk
from outskirts.benchmarking import run_job
from outskirts.benchmarking.jobs import Job, plan, seeds
from outskirts.data.benchmark import load_benchmark
from outskirts.errors import OutskirtsError


def test_every_method_variant_and_seed(bench):
    benchmark = load_benchmark(bench)
    jobs = plan(benchmark, ["ce", "ascood"], [3, 1], Path("out"), variants=["plain"], options={"epochs": 5})
    names = [
        "ce-s3",
        "ce+plain-s3",
        "ascood-s3",
        "ascood+plain-s3",
        "ce-s1",
        "ce+plain-s1",
        "ascood-s1",
        "ascood+plain-s1",
    ]
    assert [job.folder.name for job in jobs] == names
    first, plain, ascood = jobs[:3]
    assert first.options["epochs"] == 5 and first.options["seed"] == 3 and first.options["batch_size"] == 8
    assert plain.options["augment"] == "none" and first.options["augment"] == "flip,crop:1"
    assert ascood.options["p_inv"] == 0.2 and "p_inv" not in first.options
    assert first.options["data"] == benchmark.train and first.ood["far"] == dict(benchmark.ood["far"])
    assert pickle.loads(pickle.dumps(jobs)) == jobs


@pytest.mark.parametrize(
    ("variant", "tune_on", "sets", "digest"),
    [
        (None, None, {"train": "a", "test": "b"}, "9cb7871f912bebc2b75dc7398e3c10d4"),
        ("sio", "c", {"train": "a", "test": "b"}, "063cf86b9ff9475032ed15f1ed4af6ff"),
    ],
)
def test_files_and_hashes_have_empty_texts_for_none(variant, tune_on, sets, digest):
    ood = {"near": {"d": "e"}}
    job = Job("ce", variant, 0, {"epochs": 1}, sets, ood, tune_on, ("all", "knn:k=10"), Path("runs/ce-s0"))
    assert job.to_json()["sets"] == {"train": "a", "val": "", "test": "b"}
    assert job.to_json()["variant"] == (variant or "") and job.to_json()["tune_on"] == (tune_on or "")
    assert Job.from_json(job.to_json(), Path("runs")) == job
    assert run_job._digest(job) == digest


def test_what_is_not_known_is_told_before_anything_is_run(bench):
    benchmark = load_benchmark(bench)
    for methods, options, variants, match in (
        (["cee"], {}, [], "method 'cee'"),
        (["ce"], {"epoch": 3}, [], "no option 'epoch' of the method 'ce'"),
        (["ce"], {}, ["plan"], "no variant 'plan' of the benchmark 'bugs'"),
        (["ce", "ce"], {}, [], "none of them twice"),
        ([], {}, [], "needs methods: name at least one"),
        (["ce"], {"seed": 3}, [], "A benchmark sets seed itself"),
        (["ce"], {"data": "cifar10"}, [], "A benchmark sets data itself"),
    ):
        with pytest.raises(OutskirtsError, match=match):
            plan(benchmark, methods, [0], Path("out"), variants=variants, options=options)
    with pytest.raises(OutskirtsError, match="did you mean 'knn'"):
        plan(benchmark, ["ce"], [0], Path("out"), detectors=["msp", "knm:k=3"])
    with pytest.raises(OutskirtsError, match=r"of the benchmark 'bugs'. It has none"):
        plan(replace(benchmark, variants={}), ["ce"], [0], Path("out"), variants=["sio"])


def test_a_preset_overrides_what_is_of_all_methods_and_is_overridden_by_the_methods_own_recipe(bench):
    recipes = {"all": {"lr": 0.7, "views": 3, "epochs": 2}, "cider": {"preset": "quick", "neighbours": 5}}
    quick = plan(replace(load_benchmark(bench), recipes=recipes), ["cider"], [0], Path("out"), options={"epochs": 4})[0]
    values = [quick.options[name] for name in ("momentum", "lr", "views", "neighbours", "epochs")]
    assert values == [0.9, 0.7, 1, 5, 4]


def test_presets_of_a_benchmark(bench):
    benchmark = replace(load_benchmark(bench), recipes={"all": {"epochs": 2}, "cider": {"preset": "quick"}})
    quick = plan(benchmark, ["cider"], [0], Path("out"))[0]
    assert quick.options["epochs"] == 2 and "preset" not in quick.options
    plain = plan(replace(benchmark, recipes={}), ["cider"], [0], Path("out"))[0]
    assert quick.options["prototypes"] == "learned" != plain.options["prototypes"]


@pytest.mark.parametrize("text", ["a", "1-", "", "1,,2", "-1", "9" * 5000, "0-" + "9" * 5000])
def test_seeds_that_are_none(text):
    with pytest.raises(OutskirtsError, match="Seeds are written as"):
        seeds(text)


def test_a_misspelt_method_under_recipes_is_told(bench):
    benchmark = replace(load_benchmark(bench), recipes={"all": {}, "ascod": {"p_inv": 0.2}})
    with pytest.raises(
        OutskirtsError,
        match="no method 'ascod' that the benchmark 'bugs' could have under 'recipes'; did you mean 'ascood'",
    ):
        plan(benchmark, ["ce"], [0], Path("out"))


@pytest.mark.parametrize("part", ["recipes", "variants"])
def test_options_of_what_is_not_run_are_checked(bugs, tmp_path, part):
    sets = {"train": str(bugs / "train"), "test": str(bugs / "test"), "ood": {"far": {"fog": str(bugs / "fog")}}}
    benchmark = osk.Benchmark("bugs", **sets, **{part: {"oe": {"epohcs": 1}}})
    with pytest.raises(osk.OutskirtsError, match=r"no option 'epohcs' of the method '(ce|oe)'; did you mean 'epochs'"):
        osk.benchmark(benchmark, methods=["ce"], seeds=[0], out=tmp_path / "out")
