"""Measurements that are written down as they are made: none is lost, and none is made twice."""

from __future__ import annotations

import json
import platform
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import accelerate
import timm
import torch

import outskirts

__all__ = ["Journal", "OutOfTime", "Poisoned", "machine", "poisons", "synchronise"]


#: What errors of a kernel that failed say.
_POISON = (
    "CUDA error",
    "device-side assert",
    "illegal memory access",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
)


class OutOfTime(BaseException):
    """A measurement took longer than there was time. No library may take it for an error of its own."""


class Poisoned(BaseException):
    """A kernel failed: whatever this process asks of the device from now on fails, too, and a new one is needed."""


def poisons(error: BaseException | None, device: torch.device) -> bool:
    """Whether an error, or what led to it, is one after which a process can do no more on CUDA.

    Memory that is not enough is none of them.
    """
    if error is None or device.type != "cuda":
        return False
    text = str(error)
    if (
        not isinstance(error, torch.OutOfMemoryError)
        and isinstance(error, RuntimeError)
        and any(sign in text for sign in _POISON)
    ):
        return True
    return poisons(error.__cause__ or error.__context__, device)


def machine(device: torch.device) -> str:
    """The device and what computes on it, in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    cuda = f" (CUDA {torch.version.cuda})" if device.type == "cuda" else ""
    return (
        f"{name}; outskirts {outskirts.__version__}, torch {torch.__version__}{cuda}, timm {timm.__version__}, "
        f"accelerate {accelerate.__version__}, Python {platform.python_version()}"
    )


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Journal:
    """Lines of ``results.jsonl``, and the table of them in ``results.md``.

    Arguments:
        out: The folder.
        device: What is measured.
        end: When no measurement may begin or go on, by `time.monotonic`.
        before: Lines that were there when this call of the script began; what failed since is not tried again.
        note: What a reader of the table should know.
    """

    out: Path
    device: torch.device
    end: float
    before: int | None = None
    note: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    failed: set[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.machine = machine(self.device)
        if self.file.is_file():
            self.lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        self.before = len(self.lines) if self.before is None else self.before
        self.failed = {(line["part"], line["name"]) for line in self.lines[self.before :] if line["status"] == "failed"}

    @property
    def file(self) -> Path:
        return self.out / "results.jsonl"

    def done(self, part: str, name: str) -> Mapping[str, Any] | None:
        """What was measured on this machine before, if it was."""
        return next(
            (
                line["values"]
                for line in self.lines
                if (line["part"], line["name"], line["machine"]) == (part, name, self.machine)
                and line["status"] == "ok"
            ),
            None,
        )

    def measure(self, part: str, name: str, call: Callable[[], Mapping[str, Any]], needs: float = 1.0) -> None:
        """Call, and write down what it returns, or why it failed; nothing if that was done before, or failed in this
        process.

        Arguments:
            part: Of the script.
            name: Of the measurement, within its part.
            call: Returns numbers and words by name.
            needs: Seconds without which it is not begun.

        Raises:
            Poisoned: If this process can do no more on the device.
        """
        if self.done(part, name) is not None or (part, name) in self.failed:
            return
        if self.left < needs:
            if not any((line["part"], line["name"]) == (part, name) for line in self.lines):
                self._write(
                    part, name, "skipped", 0.0, {"reason": f"needs {needs:.0f} s, {max(0, self.left):.0f} s left"}
                )
            return
        start = time.monotonic()
        with self.guarded(part, name):
            status, values = "ok", dict[str, Any]()
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            try:
                with _alarm(self.left):
                    values = {**call(), "peak MiB": self._peak()}
            except OutOfTime:
                status, values = "out of time", {"reason": "goes on when called again"}
            self._write(part, name, status, time.monotonic() - start, values)

    @contextmanager
    def guarded(self, part: str, name: str) -> Iterator[None]:
        """A block whose failure is written down, and stops nothing beside it.

        Raises:
            Poisoned: If this process can do no more on the device.
        """
        start = time.monotonic()
        try:
            yield
        except Exception as error:
            trace = traceback.format_exc()
            print(trace, file=sys.stderr)
            self.failed.add((part, name))
            about = {"reason": f"{type(error).__name__}: {error}", "traceback": trace[-2000:]}
            self._write(part, name, "failed", time.monotonic() - start, about)
            if poisons(error, self.device):
                raise Poisoned from error

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) // 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)

    def _write(self, part: str, name: str, status: str, seconds: float, values: Mapping[str, Any]) -> None:
        line = {"part": part, "name": name, "status": status, "seconds": round(seconds, 2), "values": values}
        line |= {"machine": self.machine, "at": time.strftime("%Y-%m-%d %H:%M:%S")}
        self.lines.append(line)
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        (self.out / "results.md").write_text(self.table())
        print(f"{part}: {name}: {status}, {seconds:.1f} s  {_said(values)}", flush=True)

    def table(self) -> str:
        """The latest line of every measurement, in Markdown."""
        latest = {(line["part"], line["name"], line["machine"]): line for line in self.lines}
        text = ["# Measured by benchmarks/cuda.py", ""]
        for name in dict.fromkeys(line["machine"] for line in self.lines):
            text += [f"{name}", "", *([self.note, ""] if self.note else [])]
            text += ["| part | measurement | | seconds | found |", "|---|---|---|---|---|"]
            text += [
                f"| {line['part']} | {line['name']} | {line['status']} | {line['seconds']:.1f} | "
                f"{_said(line['values']).replace('|', '/')} |"
                for line in latest.values()
                if line["machine"] == name
            ]
            text.append("")
        return "\n".join(text)


def _said(values: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {shown(value)}" for name, value in values.items() if name != "traceback")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """A block that is left by `OutOfTime` after some seconds."""

    def ring(number: int, frame: object) -> None:
        raise OutOfTime

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
