"""How long ``outskirts --help`` takes, beside an empty Python process.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def main() -> None:
    commands = {"python -c pass": ["-c", "pass"], "outskirts --help": ["-m", "outskirts", "--help"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(10):
        for name, arguments in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    for name, taken in times.items():
        print(f"{name:18} median {statistics.median(taken):.3f} s, longest {max(taken):.3f} s")


if __name__ == "__main__":
    main()
