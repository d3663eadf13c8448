"""``outskirts data`` and what follows from it: CLIP from the command line."""

import csv
import shutil

import pytest

from outskirts.cli import main


@pytest.fixture(scope="module")
def tokens(bugs, draw, clip_folder, tmp_path_factory):
    """A folder of the tokens of train, test and the two OOD sets; not to be changed."""
    root = tmp_path_factory.mktemp("extracted")
    train = draw(root / "images", count=30)
    for name, data in {"train": train, **{name: bugs / name for name in ("test", "fog", "flies")}}.items():
        main(["data", "extract", "--backbone", f"clip:{clip_folder}", "--data", f"{data}", "--device", "cpu",
              "--out", f"{root / name}"])  # fmt: skip
    return root


def rows(run):
    with (run / "results.csv").open() as file:
        return {(row["detector"], row["dataset"]): row for row in csv.DictReader(file)}


def test_from_tokens_to_results(outskirts, tokens, clip_folder, bugs, tmp_path):
    run = tmp_path / "run"
    small = ["--epochs", 2, "--batch-size", 8, "--device", "cpu", "--precision", "fp32", "--start", 0]
    synthesis = ["--queue", 20, "--k", 3, "--boundary", 5, "--candidates", 10]
    outcome = outskirts(
        "train", "npos-clip", "--preset", "quick", "--backbone", f"clip:{clip_folder}", "--data",
        f"tokens:{tokens / 'train'}", "--val", f"tokens:{tokens / 'test'}", "--out", run, *small, *synthesis,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    sets = ["--near", f"flies=tokens:{tokens / 'flies'}", "--far", f"fog=tokens:{tokens / 'fog'}"]
    outcome = outskirts("evaluate", run, "--test", f"tokens:{tokens / 'test'}", *sets)
    assert outcome.code == 0, outcome.err
    found = rows(run)
    for detector in ("mcm", "knn", "ood_head", "msp"):
        assert {dataset for name, dataset in found if name == detector} == {"flies", "fog", "mean"}
    assert found["mcm", "fog"]["params"] == '{"temperature": 1.0}'
    assert "odin, which needs" in " ".join(outcome.out.split())
    # The same from the images themselves, with input gradients too.
    cached = float(found["mcm", "mean"]["auroc"])
    sets = ["--near", f"flies={bugs / 'flies'}", "--far", f"fog={bugs / 'fog'}"]
    outcome = outskirts("evaluate", run, "--test", bugs / "test", *sets)
    assert outcome.code == 0, outcome.err
    assert "20 images went through the network" in outcome.err
    assert float(rows(run)["mcm", "mean"]["auroc"]) == pytest.approx(cached, abs=0.02)
    assert ("odin", "fog") in rows(run)


def test_zero_shot(outskirts, clip_folder, bugs, tmp_path):
    run = tmp_path / "run"
    outcome = outskirts(
        "train", "npos-clip", "--preset", "zero-shot", "--backbone", f"clip:{clip_folder}", "--data", bugs / "train",
        "--device", "cpu", "--out", run,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "validation accuracy" in outcome.err
    outcome = outskirts("evaluate", run, "--test", bugs / "test", "--far", f"fog={bugs / 'fog'}", "--detectors", "mcm")
    assert outcome.code == 0, outcome.err
    assert ("mcm", "fog") in rows(run) and (run / "report.html").is_file()


def test_an_extraction_is_repeated_at_no_cost(outskirts, tokens, bugs, clip_folder):
    files = {file: file.stat().st_mtime_ns for file in (tokens / "fog").iterdir()}
    command = ["data", "extract", "--backbone", f"clip:{clip_folder}", "--data", bugs / "fog", "--device", "cpu"]
    outcome = outskirts(*command, "--out", tokens / "fog")
    assert outcome.code == 0 and f"12 images in {tokens / 'fog'}; open them as tokens:" in outcome.err
    assert {file: file.stat().st_mtime_ns for file in (tokens / "fog").iterdir()} == files


def test_corrupt_images_are_left_out_if_asked(outskirts, refused, draw, clip_folder, tmp_path):
    draw(tmp_path / "set", count=3)
    (tmp_path / "set" / "ant" / "1.png").write_bytes(b"no picture")
    command = ["data", "extract", "--backbone", f"clip:{clip_folder}", "--data", tmp_path / "set", "--device", "cpu"]
    assert "1.png cannot be decoded" in refused(*command, "--out", tmp_path / "one")
    outcome = outskirts(*command, "--out", tmp_path / "two", "--skip-corrupt")
    assert outcome.code == 0 and "1 image could not be decoded" in outcome.err and "5 images in" in outcome.err


def test_bad_input(refused, outskirts, tokens, clip_folder, bugs, tmp_path):
    clip, data, out = f"clip:{clip_folder}", bugs / "train", tmp_path / "out"
    assert "did you mean 'extract'?" in refused("data", "extrat")
    missing = outskirts("data", "extract", "--data", data)
    assert missing.code == 2 and "--backbone" in missing.err and "--out" in missing.err
    sentence = refused("data", "extract", "--backbone", "resnet18", "--data", data, "--out", out)
    assert "Only CLIP models" in sentence
    sentence = refused("data", "extract", "--backbone", clip, "--data", data, "--out", out, "--shard", 0)
    assert "shard must be at least 1" in sentence
    train = ["train", "npos-clip", "--backbone", clip, "--device", "cpu", "--out", out]
    assert "pass --augment none" in refused(*train, "--data", f"tokens:{tokens / 'train'}")
    other = ["train", "ce", "--backbone", "fast", "--device", "cpu", "--out", out, "--augment", "none"]
    assert "tokens of a frozen network" in refused(*other, "--data", f"tokens:{tokens / 'train'}")
    mute = shutil.copytree(clip_folder, tmp_path / "mute")
    (mute / "vocab.json").unlink()
    sentence = refused("train", "npos-clip", "--backbone", f"clip:{mute}", "--data", data, "--out", out)
    assert "has no tokenizer, which reads the class names" in sentence
    deep = ["train", "npos-clip", "--backbone", f"{clip}?frozen=1", "--augment", "none", "--out", out]
    assert "made with another trunk" in refused(*deep, "--data", f"tokens:{tokens / 'train'}")
    assert not out.exists()


def test_help(outskirts):
    assert "extract" in outskirts("data").out
    assert "--backbone" in outskirts("data", "extract", "--help").out
