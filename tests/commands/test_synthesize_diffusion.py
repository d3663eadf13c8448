"""``outskirts synthesize ncis``: every stage, on a Stable Diffusion folder and on a generator trained here."""

import json
import shutil

import pytest
import torch

import outskirts as osk
from outskirts.cli import main
from outskirts.data.sources.pool import verify_pool
from outskirts.errors import OutskirtsError
from outskirts.files import load_json, load_tensors, save_json

pytest.importorskip("diffusers")

from outskirts.models.diffusion import SIZES
from outskirts.models.diffusion.model import Size

SHARED = ["--precision", "fp32"]
#: Options that keep each stage short.
STAGES = {
    "embed": ["--draws", "2", *SHARED],
    "fit": ["--fit-epochs", "3"],
    "sample": ["--per-class", "6", "--competing-classes", "0"],
    "decode": ["--count", "12", "--network-evaluations", "4", "--max-confidence", "1", *SHARED],
}
#: Stages that read the model; the others do not take it.
READERS = ("embed", "decode")
FEW = [*STAGES["embed"][:2], *STAGES["fit"][:2], *STAGES["sample"][:4], *STAGES["decode"]]  # fmt: skip


@pytest.fixture(scope="module")
def trained(bugs, judge, tmp_path_factory):
    """A generator trained here, for a moment."""
    shape, SIZES["tiny"] = SIZES["tiny"], Size((16, 16), 1, 16, 2)
    out = tmp_path_factory.mktemp("trained") / "pool"
    arguments = ["--generator", "diffusion", "--network", "tiny", "--epochs", "1", "--batch-size", "8", "--count", "2"]
    try:
        main(["synthesize", "id", *arguments, "--network-evaluations", "2", "--run", str(judge), "--out", str(out)])
        yield out / "generator"
    finally:
        SIZES["tiny"] = shape


@pytest.fixture(scope="module")
def imagined(judge, stable_folder, tmp_path_factory):
    """All stages on a Stable Diffusion; not to be changed."""
    out = tmp_path_factory.mktemp("imagined") / "work"
    main(["synthesize", "ncis", "--model", str(stable_folder), "--run", str(judge), "--out", str(out), *FEW])
    return out


def test_all_stages_on_stable_diffusion(imagined, judge):
    vectors, about = load_tensors(imagined / "embeddings" / "vectors-00000.safetensors")
    assert vectors["vectors"].shape == (38, 8)
    assert 0 <= json.loads((imagined / "embeddings" / "check.json").read_text())["self_match"] <= 1
    assert json.loads((imagined / "manifold" / "manifold.json").read_text())["dim"] == 8
    sampled = json.loads((imagined / "outliers.json").read_text())
    assert sampled["per_class"] == 6 and 0 <= sampled["below_fresh"] <= 1 and 0 <= sampled["fresh_beyond"] <= 1
    about = verify_pool(imagined / "outliers")
    assert about["content"] == "outliers" and about["counts"] == {"ant": 6, "bee": 6}
    assert about["generator"]["name"] == "ncis" and about["manifold"]["invariants"] >= 0
    assert 0 <= about["quality"]["agreement"] <= 1 and about["embeddings"]["images"] == 38
    pool = osk.open(f"pool:{imagined / 'outliers'}")
    assert pool.image(0).shape == (3, 16, 16) and (imagined / "outliers" / "samples.png").is_file()


def test_all_stages_on_a_generator_trained_here(trained, judge, bugs, outskirts, tmp_path):
    arguments, said = ["--run", judge, "--out", tmp_path / "work"], {}
    for stage, few in STAGES.items():
        model = ["--model", trained] if stage in READERS else []
        outcome = outskirts("synthesize", "ncis", stage, *model, *arguments, *few)
        assert outcome.code == 0
        said[stage] = " ".join((outcome.out + outcome.err).split())
    assert f"Next: outskirts train ncis --data folder:{bugs / 'train'} --outlier-images pool:" in said["decode"]
    assert "held-out embeddings. With fewer than 20," in said["fit"]
    assert "less likely than 95 % of fresh embeddings, which had no part in the fit" in said["sample"]
    assert verify_pool(tmp_path / "work" / "outliers")["count"] == 12
    vectors, _ = load_tensors(tmp_path / "work" / "embeddings" / "vectors-00000.safetensors")
    assert vectors["vectors"].shape == (38, 16)


def test_finished_stages_are_left_alone(imagined, judge, stable_folder, outskirts, tmp_path):
    work = shutil.copytree(imagined, tmp_path / "work")
    before = {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()}
    arguments = ["--model", stable_folder, "--run", judge, "--out", work, *FEW]
    assert outskirts("synthesize", "ncis", *arguments).code == 0
    assert {path: path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()} == before


def test_a_folder_alone_repeats_itself(imagined, judge, stable_folder, outskirts, tmp_path):
    """Killed while images are made, the command makes those that are missing, and the same ones."""
    work = shutil.copytree(imagined, tmp_path / "work", ignore=shutil.ignore_patterns("outliers"))
    arguments = [
        "--model",
        stable_folder,
        "--run",
        judge,
        "--out",
        work,
        *STAGES["decode"],
        "--generation-batch-size",
        "4",
    ]

    import outskirts.generation.diffusion.decoding as module

    original, calls = module.decoded, []

    def twice(*given):
        calls.append(len(given[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*given)

    module.decoded = twice
    try:
        assert outskirts("synthesize", "ncis", "decode", *arguments).code == 130
        assert not (work / "outliers" / "manifest.json").exists()
        assert outskirts("synthesize", "ncis", "decode", *arguments).code == 0
    finally:
        module.decoded = original
    assert sum(calls) == 4 + 4 + 8, "the four that were written are not made again"
    again = shutil.copytree(imagined, tmp_path / "again", ignore=shutil.ignore_patterns("outliers"))
    arguments[arguments.index(work)] = again
    assert outskirts("synthesize", "ncis", "decode", *arguments).code == 0
    for name in ("images.npy", "labels.npy", "keys.npy"):
        assert (again / "outliers" / name).read_bytes() == (work / "outliers" / name).read_bytes()


def test_several_processes_embed(judge, stable_folder, outskirts, refused, tmp_path):
    arguments = ["--run", judge, "--out", tmp_path / "work"]
    embed, fit = ([*arguments, *STAGES[stage]] for stage in ("embed", "fit"))
    embed += ["--model", stable_folder]
    done = outskirts("synthesize", "ncis", "embed", *embed, "--shard", "1/2")
    assert done.code == 0 and "The blocks of shard 1/2 are embedded" in done.err
    assert "blocks are missing" in refused("synthesize", "ncis", "fit", *fit)
    assert outskirts("synthesize", "ncis", "embed", *embed, "--shard", "0/2").code == 0
    assert outskirts("synthesize", "ncis", "fit", *fit).code == 0


def test_another_sample_of_one_fit(imagined, judge, stable_folder, outskirts, refused, tmp_path):
    work = shutil.copytree(imagined, tmp_path / "work")
    shared = ["--run", judge, "--out", work]
    sample = [*shared, *STAGES["sample"], "--max-radius", "3"]
    decode = ["--model", stable_folder, *shared, *STAGES["decode"]]
    assert "was begun with the max_radius 1.5, not 3.0" in refused("synthesize", "ncis", "sample", *sample)
    assert outskirts("synthesize", "ncis", "sample", *sample, "--name", "farther").code == 0
    assert outskirts("synthesize", "ncis", "decode", *decode, "--name", "farther").code == 0
    assert verify_pool(work / "farther")["vectors"]["max_radius"] == 3.0


def test_an_option_of_another_stage_is_an_error(judge, stable_folder, outskirts, tmp_path):
    arguments = ["--model", stable_folder, "--run", judge, "--out", tmp_path / "work"]
    found = outskirts("synthesize", "ncis", "embed", *arguments, "--fit-epochs", "3")
    assert found.code == 2 and "--fit-epochs" in found.err and not (tmp_path / "work").exists()
    page = outskirts("synthesize", "ncis", "embed", "--help").out
    assert "--draws" in page and "--fit-epochs" not in page and "--per-class" not in page
    for stage in ("fit", "sample"):
        found = outskirts("synthesize", "ncis", stage, *arguments)
        assert found.code == 2 and "--model" in found.err
        page = outskirts("synthesize", "ncis", stage, "--help").out
        assert not any(option in page for option in ("--model", "--words", "--template", "--precision"))
    with pytest.raises(OutskirtsError, match="no option 'model' of Fit"):
        osk.synthesize_ncis(tmp_path / "work", model=stable_folder, run=judge, stage="fit")


def test_a_stage_that_reads_the_model_needs_it(judge, outskirts, tmp_path):
    with pytest.raises(OutskirtsError, match="The option model is required by Decode"):
        osk.synthesize_ncis(tmp_path / "work", run=judge, stage="decode")
    for method, stage in (("ncis", "embed"), ("ncis", "decode"), ("dream", "sample"), ("dream", "decode")):
        found = outskirts("synthesize", method, stage, "--run", judge, "--out", tmp_path / "work")
        assert found.code == 2 and "--model" in found.err


def test_dream_requires_a_run_and_embeds_nothing(stable_folder, outskirts, tmp_path):
    found = outskirts("synthesize", "dream", "--model", stable_folder, "--out", tmp_path / "work")
    assert found.code == 2 and "Required options" in found.err and "--run" in found.err
    for stage in ([], ["sample"], ["decode"]):
        assert "embed" not in outskirts("synthesize", "dream", *stage, "--help").out


def test_training_with_them(imagined, bugs, small, refused, tmp_path):
    spec = f"pool:{imagined / 'outliers'}"
    part = {"val": f"{bugs / 'train'}?part=95-100%"}
    run = osk.train("ncis", f"{bugs / 'train'}?part=0-95%", outlier_images=spec, out=tmp_path / "run", **part, **small)
    records = [record for record in run.records() if record["kind"] == "train"]
    assert all(0 <= record["outlier_accuracy"] <= 1 for record in records)
    with pytest.raises(OutskirtsError, match=r"holds outliers, not images of the training classes; .*--outlier-images"):
        osk.train("ce", f"{bugs / 'train'}?part=0-95%", synthetic=spec, out=tmp_path / "wrong", **part, **small)
    with pytest.raises(OutskirtsError, match="has seen 2 of the 2 validation images"):
        osk.train("ncis", bugs / "train", outlier_images=spec, seed=5, out=tmp_path / "leak", **small)


def test_images_of_the_classes_are_no_outliers(trained, bugs, small, tmp_path):
    with pytest.raises(OutskirtsError, match=r"holds images of the training classes, not outliers; .*--synthetic"):
        osk.train(
            "ncis",
            bugs / "train",
            val=bugs / "test",
            outlier_images=f"pool:{trained.parent}",
            out=tmp_path / "r",
            **small,
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "SD", "--out", "OUT"], "Pass the images to embed, or a run (--data SPEC or --run RUN)"),
        (["--model", "TRAIN", "--run", "RUN", "--out", "OUT"], "is not a folder of a diffusion model"),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--words", "ant"], "There are 2 classes and 1 --words"),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--template", "a bug"], "must have one place for a class"),
        (["--model", "OURS", "--run", "RUN", "--out", "OUT", "--template", "a bug {}"], "reads no words"),
        (["--model", "OURS", "--run", "RUN", "--out", "OUT", "--words", "ant,bee"], "reads no words"),
        (
            ["--model", "SD", "--run", "RUN", "--out", "OUT", "--shard", "2/2"],
            "The shard (--shard) must be k/n with k from 0",
        ),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--preset", "cifar"], "did you mean 'cifar100'"),
        (["--model", "OURS", "--data", "TRAIN", "--out", "OUT"], "has seen other images than"),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--network-evaluations", "0"], "must be at least 1, not 0"),
        (
            ["--model", "SD", "--run", "RUN", "--out", "OUT", "--min-radius", "-1"],
            "span must go from a positive number",
        ),
        (
            ["--model", "SD", "--run", "RUN", "--out", "OUT", "--count", "0"],
            "count must be a whole number of at least 1, not 0",
        ),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--fit-epochs", "0"], "epochs must be at least 1, not 0"),
        (["--model", "SD", "--run", "RUN", "--out", "OUT", "--name", "../../evil"], "cannot be called '../../evil'"),
        (["embedd", "--model", "SD", "--run", "RUN", "--out", "OUT"], "did you mean 'embed'"),
        (["fit", "--run", "RUN", "--out", "OUT"], "holds no embeddings; make them with"),
    ],
)
def test_requests_that_cannot_be_met(arguments, said, bugs, judge, stable_folder, trained, refused, tmp_path):
    places = {"OUT": tmp_path / "out", "TRAIN": bugs / "train", "RUN": judge, "SD": stable_folder, "OURS": trained}
    assert said in refused("synthesize", "ncis", *(places.get(word, word) for word in arguments))
    assert not (tmp_path / "out").exists(), "a wrong option leaves nothing"


def test_too_few_images_of_a_class(bugs, stable_folder, refused, tmp_path):
    arguments = ["--model", stable_folder, "--data", f"{bugs / 'train'}?limit=4", "--out", tmp_path / "work", *FEW]
    sentence = refused("synthesize", "ncis", *arguments)
    assert "Each class needs 3 embeddings" in sentence and "'ant' has 2" in sentence


def test_help(outskirts):
    assert "all stages" in outskirts("synthesize", "ncis", "--help").out
    assert "--max-radius" in outskirts("synthesize", "ncis", "all", "--help").out


def test_vectors_are_off_the_manifold(imagined):
    vectors, _ = load_tensors(imagined / "outliers.safetensors")
    assert vectors["values"].shape == (12, 8) and vectors["values"].isfinite().all()
    assert torch.equal(vectors["labels"], torch.arange(2).repeat_interleave(6))


# Dream-OOD


@pytest.fixture(scope="module")
def aligned(bugs, stable_folder, tmp_path_factory):
    small = {"epochs": 2, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "none"}
    out = tmp_path_factory.mktemp("aligned") / "run"
    return osk.train("dream", bugs / "train", out=out, anchors=str(stable_folder), embedding=8, **small).path


def test_both_stages_of_dream(aligned, stable_folder, outskirts, tmp_path):
    arguments = ["--model", stable_folder, "--run", aligned, "--out", tmp_path / "work", "--per-class", "6",
                 "--count", "12", "--network-evaluations", "4", "--max-confidence", "1", "--boundary", "4",
                 "--picks", "3", "--candidates", "20", "--sigma", "0.2"]  # fmt: skip
    assert outskirts("synthesize", "dream", *arguments).code == 0
    about = verify_pool(tmp_path / "work" / "outliers")
    assert about["content"] == "outliers" and about["generator"]["name"] == "dream"
    vectors, _ = load_tensors(tmp_path / "work" / "outliers.safetensors")
    from outskirts.models.diffusion.load_model import load_model

    starts = load_model(stable_folder, ["ant", "bee"]).prompts.vectors(torch.arange(2))
    lengths = vectors["values"].norm(dim=1)
    torch.testing.assert_close(lengths, starts.norm(dim=1)[vectors["labels"]], rtol=1e-4, atol=0)
    # A run stands for its folder, as it does elsewhere.
    options = {"per_class": 6, "count": 12, "network_evaluations": 4, "max_confidence": 1.0, "boundary": 4}
    options |= {"picks": 3, "candidates": 20, "sigma": 0.2}
    pool = osk.synthesize_dream(tmp_path / "work", model=stable_folder, run=osk.Run.open(aligned), say=print, **options)
    assert pool == tmp_path / "work" / "outliers"
    # Records of version 0.1 have a 0 for a k that was not given.
    record = tmp_path / "work" / "outliers.json"
    save_json(record, {**load_json(record), "k": 0})
    assert outskirts("synthesize", "dream", "sample", *arguments[:8], *arguments[14:]).code == 0


def test_dream_wants_a_run_of_its_own(judge, aligned, stable_folder, trained, refused, tmp_path):
    given = ["--out", tmp_path / "work", "--per-class", "4"]
    sentence = refused("synthesize", "dream", "--model", stable_folder, "--run", judge, *given)
    assert "pass a run of the method 'dream' (--run RUN)" in sentence
    sentence = refused("synthesize", "dream", "--model", stable_folder, "--run", aligned, *given, "--k", "0")
    assert "k must be at least 1, not 0" in sentence
    sentence = refused("synthesize", "dream", "--model", trained, "--run", aligned, *given)
    assert "have 8 dimensions, and the vectors of" in sentence
