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
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
#: Bytes of address space, so that what asks for too much memory fails alone.
_MEMORY = 24 * 2**30
#: Seconds between two writings of the figures.
_PAUSE = 5
#: Faults of one kind that are kept.
_MOST = 5

Effect = dict[str, str]
Again = Callable[[], Effect]


class Fuzz:
    """What `conftest.py` tells, as a plugin of pytest: how long to go on, and what came of each example."""

    #: By which pytest finds it.
    __name__ = "fuzz"

    def __init__(self, minutes: float, out: Path) -> None:
        self.minutes, self.out, self.faults = minutes, out, Path(f"{out}.faults")
        self.start = self.written = 0.0
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
        self.start = self.start or time.time()
        left = self.start + 60 * self.minutes - time.time()
        until = time.time() + max(0, left) / max(1, self.tests)
        self.tests -= 1
        while time.time() < until:
            yield random.randrange(2**32)

    def begins(self, words: list[str], change: Sequence[str]) -> None:
        """Told before a command runs: if it kills this process, its words are left."""
        Path(f"{self.out}.now").write_text(repr((words, change)))

    def ended(
        self,
        words: list[str],
        right: str,
        change: Sequence[str],
        outcome: Any,
        fault: str,
        effect: Effect,
        again: Again,
    ) -> None:
        """Told what came of it.

        Arguments:
            words: Command line.
            right: Command line in which nothing is wrong.
            change: What is wrong with a file, and its name.
            outcome: Exit code and what was printed; None where it hung.
            fault: What must not be, if it is that.
            effect: What the command has written.
            again: Runs the right command in a new folder, and gives what that has written.
        """
        command = " ".join(right.split()[: 2 if right.startswith(("data", "synthesize")) else 1])
        counts = self.counts[command]
        counts["tried"] += 1
        if fault:
            counts["hang" if outcome is None else "traceback"] += 1
            self._keep(words, change, fault)
        elif outcome.code:
            counts["clear"] += 1
        else:
            counts["accepted"] += 1
            if right not in self.right:
                self.right[right] = again(), again()
            same = _is_same(effect, change, *self.right[right])
            changes = [f"{change[0]} {change[3]}{change[1]}: {change[2]}"] if change else _changes(right.split(), words)
            told = [f"{'as before' if same else 'otherwise'}, {one}" for one in changes]
            if "usage: outskirts" in outcome.out or "--version" in words:
                one = "help or the version asked"
            else:
                classes = {accepted_as(one) for one in told} or {"mistakes that undo each other"}
                one = "in no class" if "" in classes else " and ".join(sorted(classes))
            self.classes[command][one] += 1
            if one == "in no class":
                self.unknown[right][" AND ".join(told)] += 1
        if time.time() - self.written > _PAUSE:
            self.write()

    def _keep(self, words: list[str], change: Sequence[str], fault: str) -> None:
        trace = re.search(r"details are in (\S+\.txt)", fault)
        told = Path(trace[1]).read_text() if trace and Path(trace[1]).is_file() else fault
        kind = re.sub(r"\d+|0x\w+", "#", " ".join(told.splitlines()[-4:]))[:200]
        self.kinds[kind] += 1
        if trace:
            Path(trace[1]).unlink(missing_ok=True)
        if self.kinds[kind] <= _MOST:
            folder = self.faults / f"{sum(self.kinds.values()):04d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "example.txt").write_text(f"{words!r}\n{change!r}\n\n{told}\n", errors="backslashreplace")
            if change and Path(change[3]).is_file():
                shutil.copy2(change[3], folder)

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


def _is_same(found: Effect, change: Sequence[str], first: Effect, second: Effect) -> bool:
    """Whether a command has written what it had before, but for what differs between two calls, such as times."""
    known = {name: one for name, one in first.items() if not change or not name.endswith(change[3])}
    return {*found} == {*known} and all(found[name] == one for name, one in known.items() if one == second.get(name))


def _changes(right: list[str], words: list[str]) -> list[str]:
    """What makes another command line of one: an option, and the words that are other ones, or parts of them."""
    changes = []
    for tag, start, stop, other, another in SequenceMatcher(None, right, words, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        option = next((word for word in reversed(right[:start]) if word.startswith("--")), "")
        if stop - start == another - other == 1 and (parts := _parts(right[start], words[other])):
            changes += [f"spec: {part}" for part in parts]
        else:
            changes.append(f"{tag} {option}: {' '.join(right[start:stop])} to {' '.join(words[other:another])}")
    return changes


def _parts(right: str, word: str) -> list[str]:
    """What differs between two specs, by the option that it is in; nothing if one of them has no options."""
    old, new = (re.split(r"([?&])", spec) for spec in (right, word))
    if min(len(old), len(new)) == 1:
        return []
    opcodes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [f"{tag} {''.join(old[a:b])} to {''.join(new[c:d])}" for tag, a, b, c, d in opcodes if tag != "equal"]


#: Files that people write themselves, in which nothing may be without effect.
_OWN = r"(bench\.yaml|config\.yaml|a\.csv|hot\.csv|a\.txt|classes\.txt|own\.py)"
_TABLE = r"(a|hot|classes)\.(csv|txt)"
_SAME = rf"as before, (damaged ({_TABLE}|own\.py)|edited {_TABLE}\S*: '(?P<cell>.*)' to '?(?P=cell)'?$)"
#: What may be wrong with a file.
_FILE = "(edited|renamed|left out|damaged|replaced|recoded|doubled|linked)"
#: Ends of names of files that a program writes, which does not look at every byte when it reads them.
_HASHLESS = "npy|npz|parquet|png|jpg|safetensors|pt|onnx|ts|pt2"
_NUMBER = r"-?[\d.]+"
#: The first class of which the pattern is found in what was changed is its class.
CLASSES = {
    "words left out: the default holds, or the list is shorter": r", delete ",
    "less or more is printed": r", (insert|replace) .* to (-q|-v|--quiet|--verbose)$",
    "another place for what is written": r", replace --out: \S+ to .*$",
    "another seed": rf", replace --seed: \S+ to {_NUMBER}$",
    "another number of an option": rf"otherwise, replace --[\w-]+: \S+ to {_NUMBER}$",
    "another set or kind of part": r"otherwise, replace [\w-]*: [\w:]+ to [\w:?=.]+$",
    "one more of a list": r"otherwise, insert --(detectors|near|far|set|methods): ",
    "a key left out of a file: the default holds": rf"otherwise, left out {_OWN}\.",
    "a line left out of a list": rf"otherwise, left out {_OWN}\[\]",
    "empty stands for the default": rf"otherwise, edited {_OWN}\..* to (None|''|\[\]|{{}})$",
    "another value of a key": rf"otherwise, edited {_OWN}\.",
    "another cell: names of classes and attributes are any text": rf"otherwise, (edited|damaged|recoded) {_TABLE}",
    "an option of a spec left out: the default holds": r"otherwise, spec: delete [&?]?\w+=[^&?]*[&?]? to ",
    "another value of an option in a spec": r"otherwise, spec: replace (\w+)=.* to \1=[^&]*$",
    "another file in a spec, or another set": r"otherwise, spec: replace [\w:./@-]+ to [\w:./@-]+$",
    "a cell, a line end or code that means the same": _SAME,
    "the name of a file in a zip file, which has no checksum, or an image that may be left out": (
        r"otherwise, damaged \w+\.zip"
    ),
    "a user's own code": r"otherwise, \w+ own\.py",
    "a file in an archive that is another, elsewhere, a link or gone": r"otherwise, [\w ]+ \w+\.(zip|tar)\[",
    "another encoding of the same text": r"as before, recoded \S+: (utf-8-sig|utf-8|utf-16)",
    "a name that people choose": r", renamed bench\.yaml\.(ood|variants)\.",
    "without effect on this command, in a file that programs write": rf"as before, {_FILE} (?!{_OWN})",
    "what a benchmark says beside its sets, which is not shown": (
        r"as before, .* bench\.yaml\.(recipes|variants|classes)"
    ),
    "a record that is shown or copied as it is": r", [\w ]+ \w+/([\w-]+/)?[\w-]+\.jsonl?\b",
    "pixels, scores or weights without a hash": rf", [\w ]+ \S+\.({_HASHLESS}|tar(?=:))\b",
    "options of a run, which are taken as they are": r", [\w ]+ (\w+/)+([\w-]+/)?config\.yaml",
    "a table or page that is written anew": r", [\w ]+ (\w+/)+results\.(csv|md|tex)",
    "a model's own configuration or words": r", [\w ]+ (clip|stable|vit)/",
}


def accepted_as(change: str) -> str:
    """The class of what was accepted; empty if it is in none."""
    return next((name for name, pattern in CLASSES.items() if re.search(pattern, change, re.DOTALL)), "")


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
