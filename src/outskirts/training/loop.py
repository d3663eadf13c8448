"""The training loop."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from ..data.loading.batches import Batch, Batches
from ..data.loading.pixels import workers_watched
from ..devices import repeatable, uncompiled
from ..distributed import anywhere
from ..errors import OutskirtsError
from ..files import write_text
from ..memory import keep_freed_memory
from ..models.weights import load_weights
from ..seeding import restored, seed_layers, subseed
from ..trainable import Trainable
from .checkpoint import load_checkpoint, save_checkpoint
from .concerns import CALMER, risen
from .config import TrainConfig
from .ema import EMA
from .freeze import training
from .log import Log
from .optimizers import optimizer_for
from .run import Run
from .schedule import learning_rate
from .signals import stop_requests
from .synchronised import synchronised

__all__ = ["Interrupted", "Trainer", "TrainingProgress"]

#: Called with the steps done, the steps in all, and the latest record.
TrainingProgress = Callable[[int, int, dict[str, Any]], None]


class Interrupted(OutskirtsError):
    """The user stopped the training; its state was saved first."""

    exit_code = 130


class Trainer:
    """One training: what changes from step to step, and what is saved, recorded and validated of it.

    Begins where the run's checkpoint is, if there is one, and otherwise prepares the method.

    Arguments:
        method: Trained in place.
        batches: Can be entered at any step.
        config: The options of the training.
        run: Where metrics and checkpoints go.
        engine: Precision, device, processes and trackers.
        measure: Told the share of the steps that are done; gives accuracy, loss or the like on the validation images,
            and a ``warning`` if there is one.

    Raises:
        OutskirtsError: If the checkpoint is damaged, or of another training.
    """

    def __init__(
        self,
        method: Trainable,
        batches: Batches,
        config: TrainConfig,
        run: Run,
        engine: Accelerator,
        measure: Callable[[float], dict[str, Any]],
    ) -> None:
        self.method, self.batches, self.config = method, batches, config
        self.run, self.engine, self.measure = run, engine, measure
        self.steps, self.steps_per_epoch = batches.steps, batches.sampler.steps_per_epoch
        if engine.device.type == "cpu":
            keep_freed_memory()
        method.to(engine.device).to(memory_format=torch.channels_last)
        if config.compile:
            torch.compiler.reset()
            method.network.compile(dynamic=False)
        self.optimizer = optimizer_for(method, config)
        self.log = Log(run.metrics, every=max(1, self.steps_per_epoch // 10))
        resumed = run.checkpoint.is_file()
        if not resumed:
            self._prepare()
        self.ema = EMA(method, config.ema)
        self.done = self._resume() if resumed else 0
        if engine.is_main_process:
            _forget_after(run, self.done)
        with warnings.catch_warnings():
            # Newer versions of torch have another name for what Accelerate knows by this one.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            self.model, self.stepper = engine.prepare(method, self.optimizer)
        #: What is known of the training so far: the latest value of everything recorded.
        self.latest: dict[str, Any] = {}
        #: What the latest validation warned of.
        self.warned = ""
        #: The step after which images per second are counted, and when it ended.
        self.timed_from = (self.done, time.perf_counter())

    def train(self, progress: TrainingProgress, again: str) -> None:
        """Train to the end; the method then holds the averaged weights, if there is an average.

        Arguments:
            progress: Told of every step.
            again: What to do to go on after an interruption.

        Raises:
            Interrupted: On Ctrl-C or SIGTERM, after saving.
            OutskirtsError: If the loss is no longer finite, an image cannot be decoded, or a process that decodes them
                has ended.
        """
        training(self.method, self.config)
        with stop_requests() as stop_requested, restored(), repeatable(), workers_watched():
            for step, batch in enumerate(self.batches.start(self.done), start=self.done + 1):
                rate = self.take_step(step, batch)
                if self._to_log(step):
                    self.record_means(step, rate)
                if self._to_validate(step):
                    self.validate(step)
                if self._to_save(step):
                    self.save(step)
                progress(step, self.steps, self.latest)
                if step % self.log.every == 0 or step % self.steps_per_epoch == 0:
                    self.timed_from = (step, time.perf_counter())
                if self._to_stop(step, stop_requested):
                    self.save(step)
                    raise Interrupted(f"Stopped after step {step} of {self.steps}; continue with: {again}")
        self._finish()

    def take_step(self, step: int, batch: Batch) -> float:
        """One step of the optimiser, counted from 1, without waiting for the device; returns the learning rate."""
        # Layers such as dropout know only torch's global generator.
        seed_layers(subseed(self.config.seed, "layers", step, self.engine.process_index))
        rate = learning_rate(step - 1, self.steps_per_epoch, self.config, self.method)
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * rate
        with synchronised():
            scalars = self.model(batch)
        self.stepper.zero_grad()
        self.engine.backward(_loss(scalars, type(self.method).__name__))
        if self.config.clip_norm:
            self.engine.clip_grad_norm_(self.method.parameters(), self.config.clip_norm)
        self.stepper.step()
        self.ema.update(step)
        self.log.add(scalars)
        return rate

    def record_means(self, step: int, rate: float) -> None:
        """Record the scalars' averages since the last such record, and what the method has to say of them.

        Raises:
            OutskirtsError: If the loss is not finite.
        """
        since, clock = self.timed_from
        speed = (step - since) * self.batches.sampler.batch_size / (time.perf_counter() - clock)
        means = _finite(self.log.means(), step)
        warning = self.method.warning(means) or self._risen(step, means["loss"])
        self.record("train", step, {**means, "lr": rate, **({"warning": warning} if warning else {})})
        self.latest |= {"images_per_second": speed, "warning": warning or self.warned}

    def _risen(self, step: int, loss: float) -> str:
        """A warning at the end of the first epoch, if there is one."""
        if step != self.steps_per_epoch:
            return ""
        begun = (record["loss"] for record in self.run.records() if record["kind"] == "train" and "loss" in record)
        first = next(begun, loss)
        return risen(first, loss)

    def validate(self, step: int) -> None:
        """Measure the averaged weights on the validation images, and record it.

        Raises:
            OutskirtsError: If a weight is not finite.
        """
        _require_finite(self.method, step)
        self.method.eval()
        with self.ema.applied(), uncompiled(self.config.compile):
            measured = self.measure(step / self.steps)
        self.warned = measured.get("warning", "")
        self.record("val", step, measured)
        training(self.method, self.config)

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Write a line to the run's metrics, and its numbers to the trackers."""
        line = {"kind": kind, "step": step, "epoch": step / self.steps_per_epoch, **values}
        if self.engine.is_main_process:
            self.log.write(line)
            numbers = {f"{kind}/{name}": value for name, value in values.items() if not isinstance(value, str)}
            self.engine.log(numbers, step=step)
        self.latest |= line

    def save(self, step: int) -> None:
        """Write the checkpoint.

        Raises:
            OutskirtsError: If a weight is not finite; the checkpoint before is kept then.
        """
        _require_finite(self.method, step)
        self.log.level()
        if self.engine.is_main_process:
            save_checkpoint(self.run.checkpoint, step, self.method, self.optimizer, self.ema, self.log.state)
        # A process that ended before would have the others ended as well.
        self.engine.wait_for_everyone()

    def _prepare(self) -> None:
        """Show the method all training images, before its first step."""
        self.method.eval()
        with torch.no_grad(), self.engine.autocast(), uncompiled(self.config.compile), repeatable():
            self.method.prepare(self.batches.plain())

    def _resume(self) -> int:
        """Put the checkpoint back; returns the steps done."""
        done, sums = load_checkpoint(self.run.checkpoint, self.method, self.optimizer, self.ema)
        self.log.restore(sums)
        return done

    def _finish(self) -> None:
        if self.config.ema:
            load_weights(self.method, self.ema.state, strict=False)
        self.method.eval()
        if not self.steps:
            self.record("val", 0, self.measure(1.0))

    def _to_log(self, step: int) -> bool:
        return step % self.log.every == 0 or step == self.steps

    def _to_validate(self, step: int) -> bool:
        epoch, within = divmod(step, self.steps_per_epoch)
        return within == 0 and (epoch % self.config.val_every == 0 or step == self.steps)

    def _to_save(self, step: int) -> bool:
        epoch, within = divmod(step, self.steps_per_epoch)
        return within == 0 and epoch % self.config.checkpoint_every == 0 and step < self.steps

    def _to_stop(self, step: int, requested: Callable[[], bool]) -> bool:
        # Several processes agree where they meet anyhow, so as to stop at the same step.
        meet = self._to_log(step) or self.engine.num_processes == 1
        return meet and anywhere(requested(), self.engine.device) and step < self.steps


def _loss(scalars: Any, method: str) -> Tensor:
    """What a step gives to be made smaller; an error if it gives no such thing. The device is asked for nothing."""
    loss = scalars.get("loss") if isinstance(scalars, Mapping) else None
    if not (isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad):
        raise OutskirtsError(
            f"A step of {method} must give its loss, as {{'loss': …}}: a tensor of one number that depends on weights."
        )
    return loss


def _finite(means: dict[str, float], step: int) -> dict[str, float]:
    if not math.isfinite(means["loss"]):
        raise _diverged(f"The loss is {means['loss']}", step)
    return means


def _require_finite(method: Trainable, step: int) -> None:
    if not torch.stack([parameter.detach().isfinite().all() for parameter in method.parameters()]).all():
        raise _diverged("Weights are no longer finite", step)


def _diverged(what: str, step: int) -> OutskirtsError:
    return OutskirtsError(f"{what} at step {step}; try {CALMER}.")


def _forget_after(run: Run, step: int) -> None:
    """Drop records that the steps about to be repeated will write again."""
    kept = [json.dumps(record) for record in run.records() if record["step"] <= step]
    write_text(run.metrics, "".join(f"{line}\n" for line in kept))
