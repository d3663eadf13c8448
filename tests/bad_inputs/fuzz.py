"""Try wrong inputs for some minutes, and count what comes of them.

    python tests/bad_inputs/fuzz.py --minutes 60 --out fuzz.json

Every test of this folder that tries examples gets an equal share of the time, with random seeds. The figures are
written every few seconds, so that the program may be killed. What must not be, a trace or a hang, is kept with its
input in fuzz.json.faults. What is accepted is put into classes; what fits in none is printed, to be judged by a person.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from outskirts.cli import COMMANDS

HERE = Path(__file__).parent
#: Bytes of address space, so that what asks for too much memory fails alone.
_MEMORY = 24 * 2**30
#: Seconds between two writings of the figures.
_PAUSE = 5
#: Faults of one kind that are kept.
_MOST = 5

Effect = dict[str, str]
Again = Callable[[], Effect]
Changes = Sequence[tuple[str, ...]]


class Fuzz:
    """What `conftest.py` tells, as a plugin of pytest: how long to go on, and what came of each example."""

    #: By which pytest finds it.
    __name__ = "fuzz"

    def __init__(self, minutes: float, out: Path) -> None:
        self.minutes, self.out, self.faults = minutes, out, Path(f"{out}.faults")
        self.start = self.written = time.time()
        self.tests = 1
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.classes: dict[str, Counter[str]] = defaultdict(Counter)
        self.unknown: dict[str, Counter[str]] = defaultdict(Counter)
        self.kinds: Counter[str] = Counter()
        self.right: dict[str, tuple[Effect, Effect]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if "each_of" in getattr(item, "fixturenames", ())]
        random.shuffle(items)
        self.tests = len(items)

    def seeds(self) -> Iterator[int]:
        """Seeds for the share of one test of the time that is left."""
        left = self.start + 60 * self.minutes - time.time()
        until = time.time() + max(0, left) / max(1, self.tests)
        self.tests -= 1
        while time.time() < until:
            yield random.randrange(2**32)

    def begins(self, words: list[str], changes: Changes) -> None:
        """Told before a command runs: if it kills this process, its words are left."""
        Path(f"{self.out}.now").write_text(repr((words, changes)))

    def ended(
        self, words: list[str], changes: Changes, right: str, outcome: Any, fault: str, effect: Effect, again: Again
    ) -> None:
        """Told what came of it.

        Arguments:
            words: Command line.
            changes: What is wrong with it, or with a file.
            right: Command line in which nothing is wrong.
            outcome: Exit code and what was printed; None where it hung.
            fault: What must not be, if it is that.
            effect: What the command has written.
            again: Runs the right command in a new folder, and gives what that has written.
        """
        named = re.fullmatch("[a-z]+", words[0] if words else "") and words[0] in COMMANDS
        command = " ".join(right.split()[: 2 if right.startswith(("data", "synthesize")) else 1]) if named else "other"
        counts = self.counts[command]
        counts["tried"] += 1
        if fault:
            counts["hang" if outcome is None else "traceback"] += 1
            self._keep(words, changes, fault)
        elif outcome.code:
            counts["clear"] += 1
        else:
            counts["accepted"] += 1
            if right not in self.right:
                self.right[right] = again(), again()
            same = _is_same(effect, *self.right[right])
            one = accepted_as(words, changes, right, same)
            self.classes[command][one or "in no class"] += 1
            if not one:
                self.unknown[right][f"{'as before' if same else 'otherwise'}: {changes}"] += 1
        if time.time() - self.written > _PAUSE:
            self.write()

    def _keep(self, words: list[str], changes: Changes, fault: str) -> None:
        trace = re.search(r"details are in (\S+\.txt)", fault)
        told = Path(trace[1]).read_text() if trace and Path(trace[1]).is_file() else fault
        kind = re.sub(r"\d+|0x\w+", "#", " ".join(told.splitlines()[-4:]))[:200]
        self.kinds[kind] += 1
        if trace:
            Path(trace[1]).unlink(missing_ok=True)
        if self.kinds[kind] <= _MOST:
            folder = self.faults / f"{sum(self.kinds.values()):04d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "example.txt").write_text(f"{words!r}\n{changes!r}\n\n{told}\n", errors="backslashreplace")
            for name in {change[3] for change in changes if len(change) > 3 and Path(change[3]).is_file()}:
                shutil.copy2(name, folder)

    def write(self) -> None:
        """Write the figures."""
        self.written = time.time()
        total = sum(self.counts.values(), Counter())
        figures = {
            "minutes": round((self.written - self.start) / 60, 1),
            **{name: total[name] for name in ("tried", "clear", "accepted", "traceback", "hang")},
            "by command": {name: dict(counts) for name, counts in sorted(self.counts.items())},
            "accepted by class": dict(sum(self.classes.values(), Counter()).most_common()),
            "accepted by command and class": {
                name: dict(one.most_common()) for name, one in sorted(self.classes.items())
            },
            "in no class": {name: dict(one.most_common()) for name, one in sorted(self.unknown.items())},
            "faults": dict(self.kinds.most_common()),
        }
        whole = Path(f"{self.out}.new")
        whole.write_text(json.dumps(figures, indent=1, ensure_ascii=True) + "\n")
        whole.replace(self.out)

    def pytest_sessionfinish(self) -> None:
        self.write()
        Path(f"{self.out}.now").unlink(missing_ok=True)


def _is_same(found: Effect, first: Effect, second: Effect) -> bool:
    """Whether a command has written what it had before, but for what differs between two calls, such as times."""
    return {*found} == {*first} and all(found[name] == one for name, one in first.items() if one == second.get(name))


def accepted_as(words: list[str], changes: Changes, right: str, same: bool) -> str | None:
    """The class of what was accepted, if it is in one."""
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"))
    given = parser.parse_args()
    # Before anything asks how many threads there are.
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    fuzz = Fuzz(given.minutes, given.out.absolute())
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--tb=short", str(HERE)], plugins=[fuzz])
    print(given.out.read_text())
    return int(code) or int(bool(fuzz.kinds or fuzz.unknown))


if __name__ == "__main__":
    sys.exit(main())
