"""Accelerate for a training: precision, device, processes and trackers."""

from __future__ import annotations

import atexit
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, LoggerType

from ..errors import OutskirtsError, unknown
from ..texts import comma_separated
from .config import TrainConfig

__all__ = ["accelerator", "end_trackers", "start_trackers"]


def accelerator(config: TrainConfig, folder: Path, has_unused_parameters: bool = False) -> Accelerator:
    """Accelerate for the precision, device and trackers of `config`; the last as of the `Trainable`."""
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
        raise OutskirtsError(
            f"Accelerate runs on '{engine.device.type}' here, not on '{config.device}'; pass this device "
            f"(--device {engine.device.type})."
        )
    if engine.num_processes > 1:
        atexit.register(engine.state.destroy_process_group)
    return engine


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _trackers(names: str | None) -> list[str]:
    known = [str(kind) for kind in LoggerType]
    installed = {"all", *map(str, get_available_trackers())}
    wanted = comma_separated(names)
    for name in wanted:
        if name not in known:
            raise unknown("tracker", name, known)
        if name not in installed:
            raise OutskirtsError(f"The tracker '{name}' is not installed: python -m pip install {name}.")
    return wanted


def start_trackers(engine: Accelerator, method: str, config: TrainConfig, folder: Path) -> None:
    """Start the trackers; if one cannot, the folder is left as it was."""
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        engine.init_trackers("outskirts", config={"method": method, **vars(config)})
    except Exception as error:  # Trackers raise whatever their service does.
        if engine.is_main_process:
            _remove_since(before, folder)
        reason = " ".join(str(error).split())
        raise OutskirtsError(f"The tracker '{config.tracker}' does not start ({reason}).") from error


def _remove_since(before: set[Path], folder: Path) -> None:
    """Remove what trackers have written to a folder that nobody else writes to."""
    for path in set(folder.iterdir()) - before if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def end_trackers(engine: Accelerator) -> None:
    """Finish the trackers; Accelerate's own end of a training would part the processes, which may have more to do."""
    for tracker in engine.trackers:
        tracker.finish()
