"""By what a run was made: the command as it was given, and the commit of this program."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["command_line", "revision"]

_PACKAGE = Path(__file__).parents[1]


def command_line() -> str:
    """The command that this process was started with."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


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
