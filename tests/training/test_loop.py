"""A training that is stopped anywhere and resumed is the training that was not stopped."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.data.transform import Transform
from outskirts.files import load_tensors
from outskirts.methods import registry
from outskirts.training.batches import batches_for
from outskirts.training.config import TrainConfig
from outskirts.training.log import Log
from outskirts.training.loop import Interrupted
from outskirts.training.run import Run
from outskirts.training.schedule import epoch_cosine
from outskirts.training.train import resume
from outskirts.training.validation import training_sets

# 38 images in batches of 8: 4 steps an epoch.
STEPS = 12


def records(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same_files(a, b):
    assert records(a) == records(b)
    (one, about), (two, about_two) = (load_tensors(path / "model.safetensors") for path in (a, b))
    assert about == about_two
    assert one.keys() == two.keys()
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def interrupt_after(step):
    def progress(done, steps, latest):
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


EPOCHS = {"schedule": "epoch-cosine", "warmup": 0.4}
CASES = {
    "ce-sgd-dropout": ("ce", {}, True),
    "ce-adamw-ema": ("ce", {"optimizer": "adamw", "lr": 0.01, "ema": 0.7, "label_smoothing": 0.1}, True),
    "ce-fast-clip": ("ce", {"clip_norm": 0.5, "augment": "crop:1,jitter,grey"}, False),
    "ascood-sgd-ema": ("ascood", {"outliers": "gradient", "ema": 0.5}, True),
    "ascood-energy-fast": ("ascood", {"outliers": "shuffle", "outlier_loss": "energy", "fc_lr_factor": 0.1}, False),
    "cider-ordered-ema": ("cider", {"embedding": 8, "ema": 0.5}, True),
    "cider-mean-frozen": ("cider", {"embedding": 8, "prototypes": "mean", "train_layers": "body.1", **EPOCHS}, True),
    "cider-learned-held": ("cider", {"embedding": 8, "prototypes": "learned", "prototype_freeze": 0.4}, True),
    "supcon": ("supcon", {"embedding": 8, "views": 3}, True),
    "cider-class-weights": ("cider", {"embedding": 8, "class_weights": "balanced"}, True),
    "ce-balanced": ("ce", {"sampler": "balanced"}, True),
}


@pytest.fixture(params=CASES)
def begin(request, bugs, small, network):
    """Begins a training in a folder, and a network to go on with."""
    method, options, own = CASES[request.param]

    def model():
        torch.manual_seed(3)
        return network() if own else None

    def start(out, progress=None):
        options_all = {**small, "epochs": 3, **options}
        return osk.train(method, bugs / "train", out=out, model=model(), progress=progress, **options_all).path

    start.model = model
    return start


def test_stopped_anywhere_and_resumed_is_bit_equal(begin, tmp_path):
    whole = begin(tmp_path / "whole")
    assert max(record["step"] for record in records(whole)) == STEPS
    torch.rand(7)  # The global generator's state must not matter.
    for step in (1, 4, 6):
        out = tmp_path / str(step)
        with pytest.raises(Interrupted, match=f"step {step} of {STEPS}.*outskirts train --resume"):
            begin(out, interrupt_after(step))
        assert not (out / "model.safetensors").exists()
        resume(out, model=begin.model())
        same_files(whole, out)


def test_killed_after_a_checkpoint_is_bit_equal(begin, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def copy(step, steps, latest):
        if step == 7:  # Three steps beyond the last checkpoint.
            shutil.copytree(whole, killed)

    begin(whole, copy)
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert load_tensors(killed / "checkpoint" / "state.safetensors")[1]["step"] == 4
    resume(killed, model=begin.model())
    same_files(whole, killed)


def test_killed_before_the_first_checkpoint_begins_again(bugs, small, tmp_path):
    whole = osk.train("ce", bugs / "train", out=tmp_path / "whole", **small).path
    killed = tmp_path / "killed"
    shutil.copytree(whole, killed, ignore=shutil.ignore_patterns("checkpoint", "model*"))
    resume(killed)
    same_files(whole, killed)


def test_stopping_in_the_last_step_finishes_and_then_stops(bugs, small, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=interrupt_after(8), **small)
    assert Run.open(tmp_path / "run").model.is_file()


def test_terminating_saves_as_well(bugs, small, tmp_path):
    def terminate(done, steps, latest):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=terminate, **small)
    assert load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors")[1]["step"] == 1


def test_a_second_interrupt_stops_at_once(bugs, small, tmp_path):
    def twice(done, steps, latest):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=twice, **small)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "run" / "checkpoint").exists()
    resume(tmp_path / "run")


def test_the_global_generator_is_left_alone(bugs, small, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    osk.train("ce", bugs / "train", out=tmp_path / "run", **small)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, None])
def test_a_damaged_checkpoint_says_what_to_do(bugs, small, tmp_path, content):
    with pytest.raises(Interrupted):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=interrupt_after(2), **small)
    state = tmp_path / "run" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-50] if content is None else content)
    with pytest.raises(OutskirtsError, match=r"state\.safetensors is damaged.*Delete it and resume"):
        resume(tmp_path / "run")
    state.unlink()
    resume(tmp_path / "run")


def test_a_checkpoint_of_another_training_is_told(bugs, small, tmp_path):
    for method in ("ce", "ascood"):
        options = {"outlier_loss": "energy"} if method == "ascood" else {}
        with pytest.raises(Interrupted):
            osk.train(method, bugs / "train", out=tmp_path / method, progress=interrupt_after(2), **small, **options)
    shutil.copytree(tmp_path / "ascood" / "checkpoint", tmp_path / "ce" / "checkpoint", dirs_exist_ok=True)
    with pytest.raises(OutskirtsError, match="is not a state of this training"):
        resume(tmp_path / "ce")


def test_damaged_metrics_name_the_line(bugs, small, tmp_path):
    with pytest.raises(Interrupted):
        osk.train("ce", bugs / "train", out=tmp_path / "run", progress=interrupt_after(3), **small)
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text("{}\n" + metrics.read_text())
    with pytest.raises(OutskirtsError, match=r"metrics\.jsonl is damaged: line 1"):
        resume(tmp_path / "run")


def test_two_precisions_in_one_process(bugs, small, tmp_path):
    weights = []
    for name, precision in (("a", "fp32"), ("b", "bf16"), ("c", "fp32")):
        run = osk.train("ce", bugs / "train", out=tmp_path / name, **{**small, "epochs": 1, "precision": precision})
        weights.append(load_tensors(run.model)[0]["head.linear.weight"])
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@pytest.fixture
def exploding(monkeypatch):
    """Makes the loss of cross-entropy what it is times this from a step on."""

    def explode(factor, after):
        step, done = registry["ce"].step, []

        def exploded(self, batch):
            done.append(1)
            scalars = step(self, batch)
            return {"loss": scalars["loss"] * (factor if len(done) >= after else 1.0)}

        monkeypatch.setattr(registry["ce"], "step", exploded)

    return explode


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_and_spares_the_checkpoint(exploding, bugs, small, tmp_path, factor):
    exploding(factor, after=6)
    with pytest.raises(
        OutskirtsError, match=r"The loss is (nan|inf) at step 6; try a lower learning rate.*--lr.*--clip-norm"
    ):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small)
    tensors, about = load_tensors(tmp_path / "run" / "checkpoint" / "state.safetensors")
    assert about["step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_weights_that_are_not_finite_are_never_saved(bugs, small, tmp_path, monkeypatch):
    # The loss of the very step is finite, so that the log cannot tell.
    optimise = torch.optim.SGD.step

    def step_to_nan(self, closure=None):
        optimise(self, closure)
        self.taken = getattr(self, "taken", 0) + 1
        if self.taken == 4:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.SGD, "step", step_to_nan)
    with pytest.raises(OutskirtsError, match=r"Weights are no longer finite at step 4; try"):
        osk.train("ce", bugs / "train", out=tmp_path / "run", **small)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_clipping_bounds_the_step(bugs, small, tmp_path, network):
    moved = {}
    for clip in (0.0, 1e-6):
        torch.manual_seed(0)
        model = network()
        before = model.body[0].weight.detach().clone()
        options = {**small, "epochs": 1, "weight_decay": 0.0, "momentum": 0.0, "clip_norm": clip}
        osk.train("ce", bugs / "train", out=tmp_path / str(clip), model=model, **options)
        moved[clip] = (model.body[0].weight - before).norm().item()
    assert moved[1e-6] <= 4 * 0.1 * 1e-6 < moved[0.0]


def test_label_smoothing_raises_the_loss_of_sure_predictions(bugs, small, tmp_path):
    loss = {}
    for smoothing in (0.0, 0.4):
        out = tmp_path / str(smoothing)
        osk.train("ce", bugs / "train", out=out, label_smoothing=smoothing, **{**small, "epochs": 4})
        loss[smoothing] = [record["loss"] for record in records(out) if record["kind"] == "train"][-1]
    assert loss[0.0] < 0.3 < loss[0.4]


def test_every_step_and_epoch_is_recorded(finished):
    found = records(finished)
    assert [record["step"] for record in found if record["kind"] == "train"] == list(range(1, 9))
    assert [(r["step"], r["epoch"]) for r in found if r["kind"] == "val"] == [(4, 1.0), (8, 2.0)]
    assert found[0] == {
        "kind": "data",
        "step": 0,
        "epoch": 0.0,
        "images": 38,
        "val_images": 2,
        "skipped": [],
        "notes": found[0]["notes"],
    }
    assert ["too few to rely on" in note for note in found[0]["notes"]] == [True]
    assert all({"loss", "loss_outlier", "lr"} <= r.keys() for r in found if r["kind"] == "train")


# The log


def test_scalars_between_lines_survive_an_interruption(bugs, small, tmp_path, monkeypatch):
    """Some steps have a scalar that others lack, and a line averages several steps."""
    step = registry["ce"].step

    def sometimes(self, batch):
        rare = {"rare": batch.images.mean()} if batch.labels[0] else {}
        return {**step(self, batch), **rare}

    monkeypatch.setattr(registry["ce"], "step", sometimes)
    monkeypatch.setattr("outskirts.training.loop.Log", lambda path, every: Log(path, every=5))
    options = {**small, "epochs": 3}
    whole = osk.train("ce", bugs / "train", out=tmp_path / "whole", **options).path
    lines = [record for record in records(whole) if record["kind"] == "train"]
    assert [line["step"] for line in lines] == [5, 10, 12] and "rare" in lines[1]
    with pytest.raises(Interrupted):
        osk.train("ce", bugs / "train", out=tmp_path / "cut", progress=interrupt_after(8), **options)
    resume(tmp_path / "cut")
    same_files(whole, tmp_path / "cut")


def test_a_method_s_warning_is_shown_and_recorded(bugs, small, tmp_path, monkeypatch):
    seen, shown = [], {}

    def warn(self, means):
        seen.append(means)
        return "All is lost." if len(seen) == 3 else ""

    monkeypatch.setattr(registry["ce"], "warning", warn)
    osk.train(
        "ce",
        bugs / "train",
        out=tmp_path / "run",
        progress=lambda step, steps, latest: shown.setdefault(step, latest["warning"]),
        tracker="tensorboard",  # Which takes numbers only.
        **small,
    )
    lines = [record for record in records(tmp_path / "run") if record["kind"] == "train"]
    assert [line.get("warning") for line in lines] == [None, None, "All is lost.", *[None] * 5]
    assert [shown[step] for step in range(1, 9)] == ["", "", "All is lost.", *[""] * 5]
    assert all("loss" in means for means in seen)


# Preparation


def test_a_method_prepares_once_on_all_images_unaugmented(bugs, small, tmp_path, monkeypatch):
    prepare, given = registry["cider"].prepare, []

    def watched(self, images):
        assert not self.training and not torch.is_grad_enabled()
        images = list(images)
        given.append((torch.cat([block for block, _ in images]), torch.cat([labels for _, labels in images])))
        prepare(self, images)

    monkeypatch.setattr(registry["cider"], "prepare", watched)
    options = {**small, "augment": "flip,crop:4,jitter", "embedding": 4}
    with pytest.raises(Interrupted):
        osk.train("cider", bugs / "train", out=tmp_path / "run", progress=interrupt_after(2), **options)
    resume(tmp_path / "run")
    ((images, labels),) = given
    train, _ = training_sets(osk.Run.open(tmp_path / "run"))
    transform = osk.load(tmp_path / "run").transform
    expected = torch.stack([transform.host(train[i][0]) for i in range(len(train))])
    assert torch.equal(images, transform.device(expected))
    assert labels.tolist() == train.labels.tolist()


def test_without_a_step_prototypes_are_the_class_means(bugs, small, tmp_path):
    run = osk.train("cider", bugs / "train", out=tmp_path / "run", embedding=4, **{**small, "epochs": 0})
    classifier, (train, _) = osk.load(run.path), training_sets(run)
    points = osk.extract(classifier, train, features="projection").features
    means = torch.stack([points[train.labels == label].mean(0) for label in (0, 1)])
    torch.testing.assert_close(classifier.head.prototypes, normalize(means, dim=1), atol=1e-5, rtol=0)


def test_held_prototypes_leave_the_global_generator_alone(bugs, small, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    osk.train(
        "cider", bugs / "train", out=tmp_path / "run", prototype_init="simplex", embedding=4, **{**small, "epochs": 1}
    )
    assert torch.equal(torch.rand(3), expected)


# The schedule


@pytest.mark.parametrize("quirks", [False, True])
def test_the_schedule_of_epochs_is_that_of_the_function(bugs, small, tmp_path, quirks):
    options = {**small, "epochs": 4, "schedule": "epoch-cosine", "warmup": 0.5, "embedding": 4}
    run = osk.train("cider", bugs / "train", out=tmp_path / "run", reference_quirks=quirks, **options)
    rates = [record["lr"] for record in records(run.path) if record["kind"] == "train"]
    assert rates == [epoch_cosine(step, 4, 4, 0.1, 2, quirks) for step in range(16)]
    assert (min(rates) < 0) is quirks


def test_quirks_change_no_other_schedule(bugs, small, tmp_path):
    run = osk.train("cider", bugs / "train", out=tmp_path / "run", reference_quirks=True, embedding=4, **small)
    assert all(record["lr"] > 0 for record in records(run.path) if record["kind"] == "train")


def test_each_process_is_given_its_share(bugs):
    images = osk.open(bugs / "train")
    transform = Transform(images.image(0).shape[1], 3)
    config = TrainConfig(batch_size=8, epochs=1, augment="none")

    def shown(rank, world):
        engine = SimpleNamespace(device=torch.device("cpu"), process_index=rank, num_processes=world)
        return [batch.images for batch in batches_for(config, engine, images, transform).start(0)]

    whole, *shares = shown(0, 1), shown(0, 2), shown(1, 2)
    assert len(whole) > 2
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [len(part) for part in parts] == [len(batch) // 2] * 2
        rows = {tuple(image.flatten().tolist()) for image in batch}
        assert rows == {tuple(image.flatten().tolist()) for part in parts for image in part}
