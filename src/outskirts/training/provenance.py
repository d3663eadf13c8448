"""By what a run was made: the command as it was given, and the commit of this program."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import torch

from ..__about__ import __version__

__all__ = ["command_line", "environment", "revision"]

_PACKAGE = Path(__file__).parents[1]


def command_line() -> str:
    """The command that this process was started with."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def environment(imported: Sequence[str]) -> dict[str, Any]:
    """What ``environment.json`` says: how a run can be repeated elsewhere.

    Arguments:
        imported: Words of the command that makes the run, but for its folder, where no training does.
    """
    packages = ("torch", "torchvision", "timm", "accelerate", "numpy", "safetensors")
    return {
        "command": command_line(),
        "folder": os.getcwd(),
        "imported": list(imported),
        "outskirts": __version__,
        "commit": revision(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def revision() -> str | None:
    """The commit that this program was installed from or is checked out at; ``-dirty`` follows where files differ.

    None where it is not known, as of a released version.
    """
    return _installed() or _checked_out()


def _installed() -> str | None:
    """What pip noted when it installed the package from a repository."""
    try:
        noted = json.loads(distribution("outskirts").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    return noted.get("vcs_info", {}).get("commit_id")


def _checked_out() -> str | None:
    # An environment may lie in somebody else's repository, which does not track the package.
    if _git("ls-files", "--error-unmatch", "__about__.py") is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
