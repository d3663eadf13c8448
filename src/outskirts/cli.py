"""The command line. Each command is a module of `outskirts.commands`, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["main"]

COMMANDS = {
    "demo": "train CE and ASCOOD on digits, measure and report; no download",
    "train": "train a classifier with a method: train METHOD --data SPEC",
    "evaluate": "measure a trained run on out-of-distribution sets",
    "import": "turn a checkpoint of a published repository into a run",
    "synthesize": "make outliers with a trained run, or new images of its classes, and look at them",
    "benchmark": "train methods on a benchmark with several seeds, and compare them",
    "report": "write one HTML page from run folders",
    "data": "fetch, verify or extract: what is done to image sets before a training",
    "list": "name the methods, detectors, presets, backbones and benchmarks",
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors the user can mend end in one sentence and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    if arguments[0] == "--version":
        from . import __version__

        print(f"outskirts {__version__}")
        return
    # Torch reads this when it first takes memory. Linux then maps large tensors in pages of 2 MB, where it has them to
    # give: one page of 4 kB after the other can take as long as a network takes to fill them.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from .errors import OutskirtsError, unknown

    try:
        if arguments[0] not in COMMANDS:
            raise unknown("command", arguments[0], COMMANDS)
        with _renamed_told():
            importlib.import_module(f".commands.{arguments[0]}", __package__).main(arguments[1:])
    except OutskirtsError as error:
        print(f"outskirts: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        print(f"outskirts: {error.filename} cannot be read: permission denied.", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read this, such as head, has seen enough; nor is there anyone to flush to at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("outskirts: interrupted.", file=sys.stderr)
        sys.exit(130)


@contextmanager
def _renamed_told() -> Iterator[None]:
    """A block in which each thing that is given by its name of an earlier version is told once, in a line."""
    from .renamed import RenamedWarning

    others: Any = warnings.showwarning
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if not issubclass(category, RenamedWarning):
            others(message, category, *where)
        elif str(message) not in told:
            told.add(str(message))
            print(f"outskirts: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return f"""usage: outskirts COMMAND [OPTIONS]

Out-of-distribution detection for image classifiers: synthesise outliers from the
training images, train against them, measure honestly.

commands:
{commands}

Begin with: outskirts demo
Options of a command: outskirts COMMAND --help"""


if __name__ == "__main__":
    main()
