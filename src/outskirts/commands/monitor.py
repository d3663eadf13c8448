"""``outskirts monitor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from ..bounds import Between
from ..errors import OutskirtsError
from ..files import is_file, load_json, save_json
from ..guard.folder import load_calibration
from ..guard.monitoring import Watch
from ..guard.reading_records import of_guard, verdict_rows
from .console import Command, parse, say, show

__all__ = ["COMMAND", "main"]

#: Exit code where there is an alarm, so that a script can tell.
_ALARM = 3


@dataclass(frozen=True, kw_only=True)
class Monitor(Command):
    """Say whether a guard still rejects as few pictures as it promised. An alarm ends with exit code 3."""

    examples: ClassVar[tuple[str, ...]] = (
        "outskirts monitor guards/photos verdicts.csv",
        "outskirts monitor guards/photos verdicts.csv verdicts.jsonl --state watch.json",
    )

    guard: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="GUARD")]
    """Folder of the guard."""
    verdicts: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE [FILE ...]")]
    """Files that outskirts predict wrote, in the order in which the pictures came."""
    alpha: Between = 0.01
    """Probability, between 0 and 1, that an alarm is ever raised while nothing has changed."""
    state: Path | None = None
    """File that keeps what the watch knows, so that the next call goes on where this one stood. Default: the watch
    begins with the first of these files."""

    def __call__(self) -> None:
        if not self.verdicts:
            raise OutskirtsError("Name a file that 'outskirts predict' wrote after the guard.")
        calibration, classes = load_calibration(self.guard)
        watch = Watch.of(calibration, classes, self.alpha)
        if self.state is not None and is_file(self.state):
            earlier = Watch.from_json(load_json(self.state, dict))
            watch.require_same(earlier)
            say(f"Going on after {earlier.images:,} images.")
            watch = earlier
        for file in self.verdicts:
            rows = of_guard(verdict_rows(file), calibration, classes, file)
            watch.update_rows((row.label, row.accepted) for row in rows)
        if self.state is not None:
            save_json(self.state, watch.to_json())
        show(str(watch))
        if watch.alarm:
            raise SystemExit(_ALARM)


COMMAND = Monitor


def main(arguments: Sequence[str]) -> None:
    """Read verdicts, and say whether there is an alarm."""
    parse(Monitor, "monitor", arguments)()
