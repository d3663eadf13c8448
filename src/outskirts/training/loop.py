"""The training loop."""

from __future__ import annotations

import atexit
import json
import math
import shutil
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, LoggerType
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ..data.imageset import ImageSet
from ..data.loading.augment import parse
from ..data.loading.batches import Batches, training_batches
from ..data.transform import Transform
from ..devices import repeatable, sent, there, uncompiled
from ..distributed import anywhere, average
from ..errors import OutskirtsError, unknown
from ..files import write_text, writing
from ..memory import keep_freed_memory
from ..models.classifier import Classifier
from ..seeding import restored, seed_layers, subseed
from ..trainable import Trainable
from .checkpoint import load_checkpoint, save_checkpoint
from .config import TrainConfig
from .ema import EMA
from .freeze import training
from .run import Run
from .schedule import cosine_factor, epoch_cosine
from .synchronised import synchronised

__all__ = ["Interrupted", "Progress", "accelerator", "accuracy", "batches_for", "end_trackers", "fit", "start_trackers"]

#: Called with the steps done, the steps in all, and the latest record.
Progress = Callable[[int, int, dict[str, Any]], None]


class Interrupted(OutskirtsError):
    """The user stopped the training; its state was saved first."""

    exit_code = 130


def accelerator(config: TrainConfig, folder: Path, has_unused_parameters: bool = False) -> Accelerator:
    """Accelerate for the precision, device and trackers of `config`; `partial` as of what is trained."""
    # Accelerate keeps its settings in process-wide singletons, which a second run may want otherwise.
    AcceleratorState._reset_state(reset_partial_state=not _distributed())
    engine = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        cpu=config.device == "cpu",
        log_with=_trackers(config.tracker) or None,
        project_dir=folder,
        # Prototypes and queues are the same on all processes; sending them at every step would cost more than it.
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=has_unused_parameters)
        ],
    )
    if engine.device.type != config.device:
        raise OutskirtsError(f"Accelerate runs on '{engine.device.type}' here, not on '{config.device}'.")
    if engine.num_processes > 1:
        atexit.register(engine.state.destroy_process_group)
    return engine


def batches_for(
    config: TrainConfig,
    engine: Accelerator,
    images: ImageSet,
    transform: Transform,
    pool: ImageSet | None = None,
    outliers: ImageSet | None = None,
    views: int = 1,
) -> Batches:
    """The batches of a training on `images`, and this process's share of each; see `training_batches`."""
    return training_batches(
        images,
        transform,
        parse(config.augment, transform.size),
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
        device=engine.device,
        pool=pool,
        mixing=config.mixed(),
        outliers=outliers,
        outlier_batch=config.outlier_batch,
        views=views,
        rank=engine.process_index,
        world=engine.num_processes,
        memory_budget=config.memory_budget,
        workers=config.workers,
        skip_corrupt=config.skip_corrupt,
    )


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _trackers(names: str) -> list[str]:
    known = [str(kind) for kind in LoggerType]
    installed = {"all", *map(str, get_available_trackers())}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise unknown("tracker", name, known)
        if name not in installed:
            raise OutskirtsError(f"The tracker '{name}' is not installed: python -m pip install {name}.")
    return wanted


def start_trackers(engine: Accelerator, method: str, config: TrainConfig, folder: Path) -> None:
    """Start the trackers; if one cannot, the folder is left as it was."""
    new = not folder.exists()
    try:
        engine.init_trackers("outskirts", config={"method": method, **vars(config)})
    except Exception as error:  # Trackers raise whatever their service does.
        if new:
            shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise OutskirtsError(f"The tracker '{config.tracker}' does not start ({reason}).") from error


def end_trackers(engine: Accelerator) -> None:
    """Finish the trackers; Accelerate's own end of a training would part the processes, which may have more to do."""
    for tracker in engine.trackers:
        tracker.finish()


def optimizer_for(method: Trainable, config: TrainConfig) -> Optimizer:
    """SGD or AdamW, with one group of parameters per learning-rate factor of the method."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(method.lr_factor(name), []).append(parameter)
    options = [{"params": params, "factor": factor, "lr": config.lr * factor} for factor, params in groups.items()]
    # On CUDA one kernel moves all parameters, if all have moved before; None leaves the choice to torch.
    fused = (next(method.parameters()).device.type == "cuda" and not method.has_unused_parameters) or None
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(options, **common)
    return torch.optim.SGD(options, momentum=config.momentum, nesterov=config.momentum > 0, **common)


@dataclass
class Log:
    """Averages a method's scalars between lines of `metrics.jsonl`."""

    path: Path
    every: int
    #: By name, the sum since the last line.
    sums: dict[str, Tensor] = field(default_factory=dict)
    #: By name, over how many steps: not every step needs to have every scalar.
    steps: Counter[str] = field(default_factory=Counter)

    @torch.no_grad()
    def add(self, scalars: dict[str, Tensor]) -> None:
        """Add one step's scalars, without waiting for the device."""
        values = {name: value.detach().float() for name, value in scalars.items()}
        known = self.sums.keys() & values.keys()
        # All at once: for each alone, a small network would wait for the host.
        if known:
            torch._foreach_add_([self.sums[name] for name in known], [values[name] for name in known])
        self.sums |= {name: value.clone() for name, value in values.items() if name not in known}
        self.steps.update(values.keys())

    def level(self) -> None:
        """Replace the sums by their averages over processes."""
        if self.sums:
            self.sums = dict(zip(self.sums, average(torch.stack(list(self.sums.values())))))

    def means(self) -> dict[str, float]:
        """The averages since the last call, over all processes."""
        self.level()
        means = (
            torch.stack([total / self.steps[name] for name, total in self.sums.items()]).tolist() if self.sums else []
        )
        found = dict(zip(self.sums, means))
        self.restore({})
        return found

    @property
    def state(self) -> dict[str, Tensor]:
        """Sums and numbers of steps, to go on from."""
        return {name: torch.stack([total, total.new_tensor(self.steps[name])]) for name, total in self.sums.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.sums = {name: total for name, (total, _) in state.items()}
        self.steps = Counter({name: int(steps) for name, (_, steps) in state.items()})

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def fit(
    method: Trainable,
    batches: Batches,
    config: TrainConfig,
    run: Run,
    engine: Accelerator,
    validate: Callable[[], dict[str, float]],
    progress: Progress,
    again: str,
) -> None:
    """Train `method` from the run's checkpoint, if there is one, to the end.

    Arguments:
        method: Trained in place; holds the averaged weights at the end if there is an average.
        batches: Can be entered at any step.
        config: The options of the training.
        run: Where metrics and checkpoints go.
        engine: Precision, device, processes and trackers.
        validate: Accuracy, loss or the like on the validation images.
        progress: Told of every step.
        again: What to do to go on after an interruption.

    Raises:
        Interrupted: On Ctrl-C or SIGTERM, after saving.
        OutskirtsError: If the loss is no longer finite.
    """
    if engine.device.type == "cpu":
        keep_freed_memory()
    method.to(engine.device).to(memory_format=torch.channels_last)
    if config.compile:
        torch.compiler.reset()
        method.network.compile(dynamic=False)
    optimizer = optimizer_for(method, config)
    log = Log(run.metrics, every=max(1, batches.sampler.steps_per_epoch // 10))
    done = 0
    resumed = run.checkpoint.is_file()
    if not resumed:
        method.eval()
        with torch.no_grad(), engine.autocast(), uncompiled(config.compile), repeatable():
            method.prepare(batches.plain())
    ema = EMA(method, config.ema)
    if resumed:
        done, state = load_checkpoint(run.checkpoint, method, optimizer, ema)
        log.restore(state)
    if engine.is_main_process:
        _forget_after(run, done)
    with warnings.catch_warnings():
        # Newer versions of torch have another name for what Accelerate knows by this one.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        model, stepper = engine.prepare(method, optimizer)

    def save(step: int) -> None:
        _require_finite(method, step)
        log.level()
        if engine.is_main_process:
            save_checkpoint(run.checkpoint, step, method, optimizer, ema, log.state)
        # A process that ended before would have the others ended as well.
        engine.wait_for_everyone()

    def record(kind: str, step: int, values: dict[str, Any]) -> dict[str, Any]:
        line = {"kind": kind, "step": step, "epoch": step / batches.sampler.steps_per_epoch, **values}
        if engine.is_main_process:
            log.write(line)
            numbers = {f"{kind}/{name}": value for name, value in values.items() if not isinstance(value, str)}
            engine.log(numbers, step=step)
        return line

    latest: dict[str, Any] = {}
    since, clock = done, time.perf_counter()
    training(method, config)
    with _stop_requests() as stop_requested, restored(), repeatable():
        for step, batch in enumerate(batches.start(done), start=done + 1):
            # Layers such as dropout know only torch's global generator.
            seed_layers(subseed(config.seed, "layers", step, engine.process_index))
            rate = _rate(step - 1, batches.sampler.steps_per_epoch, config, method)
            for group in optimizer.param_groups:
                group["lr"] = group["factor"] * rate
            with synchronised():
                scalars = model(batch)
            stepper.zero_grad()
            engine.backward(scalars["loss"])
            if config.clip_norm:
                engine.clip_grad_norm_(method.parameters(), config.clip_norm)
            stepper.step()
            ema.update(step)
            log.add(scalars)
            epoch, within = divmod(step, batches.sampler.steps_per_epoch)
            logged = step % log.every == 0 or step == batches.steps
            if logged:
                speed = (step - since) * batches.sampler.batch_size / (time.perf_counter() - clock)
                means = _finite(log.means(), step)
                warning = method.warning(means)
                latest |= record("train", step, {**means, "lr": rate, **({"warning": warning} if warning else {})})
                latest |= {"images_per_second": speed, "warning": warning}
            if within == 0 and (epoch % config.val_every == 0 or step == batches.steps):
                _require_finite(method, step)
                method.eval()
                with ema.applied(), uncompiled(config.compile):
                    latest |= record("val", step, validate())
                training(method, config)
            if within == 0 and epoch % config.checkpoint_every == 0 and step < batches.steps:
                save(step)
            progress(step, batches.steps, latest)
            if step % log.every == 0 or within == 0:
                since, clock = step, time.perf_counter()
            # Several processes agree where they meet anyhow, so as to stop at the same step.
            meet = logged or engine.num_processes == 1
            if meet and anywhere(stop_requested(), engine.device) and step < batches.steps:
                save(step)
                raise Interrupted(f"Stopped after step {step} of {batches.steps}; go on with: {again}")
    if config.ema:
        method.load_state_dict(ema.state, strict=False)
    method.eval()
    if not batches.steps:
        record("val", 0, validate())


def _rate(step: int, steps_per_epoch: int, config: TrainConfig, method: Trainable) -> float:
    """The learning rate at a step counted from 0."""
    if config.schedule == "epoch-cosine":
        warmup = round(config.warmup * config.epochs)
        return epoch_cosine(step, steps_per_epoch, config.epochs, config.lr, warmup, method.published_warmup)
    steps = steps_per_epoch * config.epochs
    return config.lr * cosine_factor(step, steps, config.warmup, floor=1e-6 / config.lr)


def accuracy(classifier: Classifier, images: Tensor, labels: Tensor, engine: Accelerator) -> dict[str, float]:
    """Accuracy and cross-entropy on images that are in memory, uint8 [N, C, H, W]."""
    found = []
    with torch.no_grad(), engine.autocast():
        for block, target in zip(images.split(500), labels.split(500)):
            block, target = sent(block, engine.device), there(target, engine.device)
            x = classifier.transform.device(block).contiguous(memory_format=torch.channels_last)
            logits = classifier(x).float()
            correct = (logits.argmax(1) == target).sum()
            found.append(torch.stack([correct.float(), cross_entropy(logits, target, reduction="sum")]))
    correct, loss = torch.stack(found).cpu().double().sum(0).tolist()
    return {"accuracy": correct / len(labels), "loss": loss / len(labels)}


def _finite(means: dict[str, float], step: int) -> dict[str, float]:
    if not math.isfinite(means["loss"]):
        raise _diverged(f"The loss is {means['loss']}", step)
    return means


def _require_finite(method: Trainable, step: int) -> None:
    if not torch.stack([parameter.detach().isfinite().all() for parameter in method.parameters()]).all():
        raise _diverged("Weights are no longer finite", step)


def _diverged(what: str, step: int) -> OutskirtsError:
    return OutskirtsError(f"{what} at step {step}; try a lower --lr, a longer --warmup or --clip-norm 1.")


def _forget_after(run: Run, step: int) -> None:
    """Drop records that the steps about to be repeated will write again."""
    kept = [json.dumps(record) for record in run.records() if record["step"] <= step]
    write_text(run.metrics, "".join(f"{line}\n" for line in kept))


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request, so that a step is never cut in two; a second one stops."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def request(signum: int, frame: object) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
