"""The commands that repeat a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..evaluation.pasteable import Pasteable
from ..evaluation.shareable import Shareable
from .run_report import RunReport

__all__ = ["Repeating"]


@dataclass(frozen=True)
class Repeating:
    """What a page says of how to repeat a run.

    Arguments:
        script: Commands for a shell, if there are any.
        lacking: Why no command trains the run, or measures it, in sentences.
    """

    script: str
    lacking: tuple[str, ...]

    @classmethod
    def of(cls, run: RunReport, hidden: Shareable, full: bool) -> Repeating:
        """The commands that train and measure a run once more.

        Arguments:
            run: The run.
            hidden: What leaves out the names of users and machines.
            full: Whether absolute paths and names are kept.
        """
        about = run.environment or {}
        if not about.get("command"):
            return cls("", ("The command is not known: this run keeps no record of it (environment.json).",))
        typed = f"{about['command']} {run.asked.typed}"
        written = Pasteable(about.get("folder") or "", typed, hidden, full=full)
        if "imported" not in about:  # Version 0.1 kept the command alone.
            return cls(written.script([written.text(about["command"])]), ())
        folder = f"repeated/{Path(run.path).absolute().name}"
        lines, lacking = [], [run.asked.why_not]
        # A classifier that was trained elsewhere is opened and measured by one command.
        given = [*about["imported"], "--out", folder] if "model" in run.config else None
        if given is None:
            try:
                trained = run.recipe.command()
                lines.append(written.line([*(about["imported"] or trained), "--out", folder]))
            except OutskirtsError as error:
                lacking.insert(0, str(error))
        if run.asked.options:
            if run.asked.sha256:
                lines.append(written.hash_of(run.asked.benchmark, run.asked.sha256))
            lines.append(written.line([*(given or ["outskirts", "evaluate", folder]), *run.asked.options]))
        script = "\n".join([_program(about), written.script(lines, run.threads)]) if lines else ""
        return cls(script, tuple(filter(None, lacking)))


def _program(about: Mapping[str, Any]) -> str:
    """A comment that names the versions that a run was made with, from its environment."""
    commit = f" (commit {about['commit']})" if about.get("commit") else ""
    return f"# Made with outskirts {about.get('outskirts')}{commit}, torch {about.get('torch')}"
