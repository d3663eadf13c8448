"""The command line. Each command is a module of `outskirts.commands`, imported only when it is called."""

from __future__ import annotations

import errno
import importlib
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from .__about__ import ISSUES, __version__

__all__ = ["main"]

#: Exit code of a fault of the program itself, as sysexits.h calls it.
_FAULT = 70

#: Of paths that no system would have, such as one of a thousand letters.
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)

_QUIET, _VERBOSE = ("-q", "--quiet"), ("-v", "--verbose")

COMMANDS = {
    "demo": "train CE and ASCOOD on digits, evaluate them and write a report; nothing is downloaded",
    "train": "train a classifier with a method: train METHOD --data SPEC",
    "evaluate": "measure how well a trained run detects OOD images",
    "guard": "keep a classifier, a detector and a threshold in one folder, ready for use",
    "predict": "say of each picture what it shows, and whether the classifier knows such pictures",
    "monitor": "say whether a guard still rejects as few pictures as it promised",
    "export": "write a guard to one file that other programs run, such as ONNX",
    "serve": "answer over HTTP what predict says, with a page to look at pictures",
    "extract": "write features and logits of images to a file, for other tools",
    "import": "turn a checkpoint of a published repository into a run",
    "synthesize": "make outliers, or new images of the training classes, and look at them",
    "benchmark": "train methods on a benchmark with several seeds, and compare them",
    "report": "write one HTML page about evaluated runs",
    "data": "fetch, verify, pack or extract sets of images",
    "list": "list methods, detectors, presets, backbones, generators and benchmarks",
}

#: Command lines that end the help; a test runs them.
EXAMPLES = ("outskirts demo", "outskirts train ascood --help")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors the user can mend end in one sentence and exit code 2, all others in code 70 and a file."""
    arguments, quiet, verbose = _spoken(sys.argv[1:] if arguments is None else arguments)
    # Torch reads this when it first takes memory. Linux then maps large tensors in pages of 2 MB, where it has them to
    # give: one page of 4 kB after the other can take as long as a network takes to fill them.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from .errors import OutskirtsError, debugging
    from .registry import foreign_part

    try:
        with _terminable(), _renamed_told():
            try:
                _run(arguments, quiet)
            finally:
                sys.stdout.flush()
    except OutskirtsError as error:
        _end(str(error), error.exit_code, verbose)
    except PermissionError as error:
        _end(f"{error.filename} cannot be read: permission denied.", 2, verbose)
    except BrokenPipeError:
        # Whoever read this, such as head, has seen enough.
        _silence(sys.stdout)
        sys.exit(141)
    except _Terminated:
        _end("stopped by SIGTERM. What is finished is kept.", 143)
    except KeyboardInterrupt:
        _end("interrupted.", 130)
    except Exception as error:
        if _lacks_memory(error):
            _end("there is not enough memory; choose smaller batches, smaller images, or fewer of them.", 2, verbose)
        if isinstance(error, OverflowError) or "Overflow when unpacking long" in str(error):
            _end("a number is too large to compute with; choose one below 2 to the power of 63.", 2, verbose)
        if isinstance(error, OSError) and error.errno in _NO_PATH and error.filename:
            _end(f"{str(error.filename)[:100]} cannot be a path: {error.strerror}.", 2)
        if debugging():
            raise
        if part := foreign_part(error):
            _end(f"the {part} of another package failed ({_in_a_line(error)}); its authors can mend it.", 2, verbose)
        _end(_fault(error, arguments), _FAULT, verbose)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def _terminable() -> Iterator[None]:
    """A block that SIGTERM ends by an exception, so that nothing half-written is left; unless it is handled already."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(signum: int, frame: object) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(sentence: str, code: int, traced: bool = False) -> NoReturn:
    if traced:
        traceback.print_exc()
    try:
        print(f"outskirts: {sentence}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)
    sys.exit(code)


def _silence(stream: TextIO) -> None:
    """Let nothing more go to whoever has left: nor is there anyone to flush to at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, or torch on a GPU or a CPU, could not take memory."""
    named = type(error).__name__ in ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError")
    return named or "can't allocate memory" in str(error)


def _fault(error: Exception, arguments: list[str]) -> str:
    """A sentence that says that the program is at fault; what its authors need to know is in a file then."""
    command = shlex.join(["outskirts", *arguments])
    try:
        number, name = tempfile.mkstemp(prefix="outskirts-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"outskirts {__version__}, Python {sys.version}\n{command}\n\n{traceback.format_exc()}")
        where = f"The details are in {name}."
    except OSError:
        where = "Set OUTSKIRTS_DEBUG=1 to see the details."
    return f"a fault of outskirts stopped this command ({_in_a_line(error)}). {where} Please report it at {ISSUES}."


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300].removesuffix(":")


def _spoken(arguments: list[str]) -> tuple[list[str], bool, bool]:
    """The arguments without those that say how much is said, wherever they stand, and what these say."""
    quiet, verbose = (any(one in flags for one in arguments) for flags in (_QUIET, _VERBOSE))
    return [one for one in arguments if one not in (*_QUIET, *_VERBOSE)], quiet, verbose


def _run(arguments: list[str], quiet: bool) -> None:
    from .errors import OutskirtsError, unknown

    if not arguments or arguments[0] in ("-h", "--help"):
        return print(_help())
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        return print(f"outskirts {__version__}")
    if name == "--print-completion":
        if len(rest) != 1:
            raise OutskirtsError("Name the shell: outskirts --print-completion bash, or zsh.")
        from .commands.completion import print_completion

        return print_completion(rest[0], COMMANDS)
    if name.startswith("-"):
        raise unknown("option", name, [*_QUIET, *_VERBOSE, "-h", "--help", "--version", "--print-completion"])
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    _require_words(rest)
    from .commands.console import console

    before, console.quiet = console.quiet, console.quiet or quiet
    try:
        importlib.import_module(f".commands.{name}", __package__).main(rest)
    finally:
        console.quiet = before


def _require_words(arguments: list[str]) -> None:
    """Raise if one is empty, as a variable of the shell without a value is: its option would be as if not given."""
    from .errors import OutskirtsError

    for before, word in zip(["", *arguments], arguments):
        option, given, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if given and not value.strip():
            place = f"{option} has an empty value" if option.startswith("-") else "One word is empty"
            raise OutskirtsError(f"{place}; a variable of the shell may not be set. Give a value, or leave it out.")


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
    examples = "\n".join(f"  {example}" for example in EXAMPLES)
    return f"""usage: outskirts COMMAND [OPTIONS]

Out-of-distribution detection for image classifiers: synthesise outliers from the
training images, train against them, measure honestly.

commands:
{commands}

options, with any command:
  -q, --quiet               print results and errors only
  -v, --verbose             print where in the program an error occurred
  --version                 print the version
  --print-completion SHELL  print completions for bash or zsh

examples:
{examples}"""


if __name__ == "__main__":
    main()
