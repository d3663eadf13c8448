"""What a server costs beside the guard that it serves, and what it stands.

    python benchmarks/serve.py [--part speed|start|endurance|kill|bad|all] [--minutes 10] [--engine torch|onnx]

``speed``: pictures a second, and the time of a request (p50, p99), with 1, 8 and 64 clients, beside the same engine in
a loop without a server. ``start``: from the command to the first verdict, beside a program that loads the guard and
looks at one picture. ``endurance``: some minutes at 80 % of what the server can do; errors, and memory. ``kill``: a
process that computes is killed under load. ``bad``: 300 bad requests, and those that schemathesis makes of the server's
own description. Pictures are JPEG files of 500×375 pixels, the network a ResNet-18 at 224 pixels with random weights.
It needs wrk, and schemathesis for ``bad``. All on the loopback address.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import torch
from decoding import photographs
from guard import guard
from PIL import Image

from outskirts.serving.engines import make_engine
from outskirts.serving.options import Computing
from outskirts.serving.uploads import Upload

CLIENTS = (1, 8, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["speed", "start", "endurance", "kill", "bad", "all"], default="all")
    parser.add_argument("--minutes", type=float, default=10)
    # Far longer than a batch of 32 takes, which answers half of 64 clients at once.
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--engine", choices=["torch", "onnx"], default="torch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, pictures = Path(scratch) / "guard", Path(scratch) / "photos"
        guard().save(folder)
        pictures.mkdir()
        photographs(pictures, 8, 500, 375)
        files = sorted(pictures.iterdir())
        if given.part in ("speed", "all"):
            speed(folder, files, given.engine, given.seconds)
        if given.part in ("start", "all"):
            start(folder, files[0])
        if given.part in ("endurance", "all"):
            endurance(folder, files, given.engine, given.minutes)
        if given.part in ("kill", "all"):
            kill(folder, files, given.seconds)
        if given.part in ("bad", "all"):
            bad(folder, files[0])


@contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """The address of a server, and the number of its process."""
    command = [sys.executable, "-m", "outskirts", "serve", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield re.search(r"http://\S+", next(process.stderr)).group(), process.pid  # type: ignore[union-attr]
        finally:
            process.terminate()
            process.communicate()


def speed(folder: Path, files: Sequence[Path], engine: str, seconds: float) -> None:
    best, alone = _alone(folder, files, engine, seconds)
    with server(folder, "--engine", engine) as (address, _):
        for clients in CLIENTS:
            rate, p50, p99, errors = _wrk(address, files[0], clients, seconds)
            more = f"; p50 is {p50 - alone:+.1f} ms beside the engine" if clients == 1 else ""
            print(
                f"{clients:>3} clients: {rate:.1f} pictures/s ({rate / best:.2f} of the engine), "
                f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, {errors} errors{more}"
            )


def _alone(folder: Path, files: Sequence[Path], engine: str, seconds: float) -> tuple[float, float]:
    """Pictures a second of the engine at its best batch, and milliseconds of one picture."""
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    compute = make_engine(folder, Computing(engine=engine, threads=cores))
    uploads = [Upload("image", files[place % len(files)].read_bytes()) for place in range(64)]
    rates = {}
    for size in (1, 4, 8, 16, 32, 64):
        took = _timed(lambda size=size: compute(uploads[:size], 1), seconds / 3)
        rates[size] = size / took
        print(f"engine alone, batches of {size}: {rates[size]:.1f} pictures/s, {1000 * took:.1f} ms")
    return max(rates.values()), 1000 / rates[1]


def _timed(call: Callable[[], object], seconds: float) -> float:
    """Median seconds of a call."""
    call()
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _wrk(address: str, file: Path, clients: int, seconds: float) -> tuple[float, float, float, int]:
    """Pictures a second, p50 and p99 in milliseconds, and how many requests failed."""
    script = file.with_name("post.lua")
    script.write_text(f'wrk.method = "POST"\nwrk.body = io.open("{file}", "rb"):read("*a")\n')
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", "-s", str(script)]
    for run in (["-d2s"], []):  # The first warms up.
        said = subprocess.run([*words, *run, f"{address}/predict"], capture_output=True, text=True, check=True).stdout
    script.unlink()
    p50, p99 = (_milliseconds(re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", said)) for share in (50, 99))
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", said)))
    failed += sum(sum(map(int, re.findall(r"\d+", line))) for line in said.splitlines() if "Socket errors" in line)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)), p50, p99, failed  # type: ignore[union-attr]


def _milliseconds(found: re.Match[str] | None) -> float:
    assert found is not None
    return float(found.group(1)) * {"us": 1e-3, "ms": 1, "s": 1e3}[found.group(2)]


def start(folder: Path, file: Path, rounds: int = 5) -> None:
    program = f"import outskirts as o; o.Guard.load({str(folder)!r}).predict({str(file)!r})"
    served, loaded = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        loaded.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with server(folder) as (address, _):
            httpx.post(f"{address}/predict", content=file.read_bytes(), timeout=60).raise_for_status()
            served.append(time.perf_counter() - begun)
    one, other = statistics.median(served), statistics.median(loaded)
    print(
        f"start to the first verdict: {one:.2f} s, {one / other:.2f} of loading the guard in a program ({other:.2f} s)"
    )


def endurance(folder: Path, files: Sequence[Path], engine: str, minutes: float) -> None:
    with server(folder, "--engine", engine) as (address, pid):
        rate = 0.8 * _wrk(address, files[0], 64, 10)[0]
        answers, memory = asyncio.run(_steady(address, pid, files, rate, 60 * minutes))
    # What it takes for the first requests is not growth.
    warm = memory[len(memory) // 10 :]
    span = (max(warm) - min(warm)) / statistics.median(warm)
    print(
        f"{minutes:g} minutes at {rate:.1f} pictures/s: {dict(answers)}; memory {min(warm):.0f} to {max(warm):.0f} MB "
        f"(a span of {span:.1%}), first {warm[0]:.0f}, last {warm[-1]:.0f} MB"
    )


async def _steady(
    address: str, pid: int, files: Sequence[Path], rate: float, seconds: float
) -> tuple[Counter[str], list[float]]:
    """What was answered to requests at a steady rate, and the memory of all processes, in MB, every two seconds."""
    answers: Counter[str] = Counter()
    memory: list[float] = []
    bodies = [file.read_bytes() for file in files]

    async def ask(client: httpx.AsyncClient, place: int) -> None:
        try:
            answer = await client.post("/predict", content=bodies[place % len(bodies)])
            answers[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            answers[type(error).__name__] += 1

    async with httpx.AsyncClient(base_url=address, timeout=60) as client, asyncio.TaskGroup() as asked:
        begun = time.monotonic()
        for place in range(round(rate * seconds)):
            await asyncio.sleep(max(0, begun + place / rate - time.monotonic()))
            asked.create_task(ask(client, place))
            if place % max(1, round(2 * rate)) == 0:
                memory.append(_memory(pid))
    return answers, memory


def _memory(pid: int) -> float:
    """Memory of a process and all below it, shared pages counted once, in MB."""
    try:
        known = Path(f"/proc/{pid}/smaps_rollup").read_text()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = int(re.search(r"^Pss:\s+(\d+)", known, re.MULTILINE).group(1)) / 1024  # type: ignore[union-attr]
    return own + sum(_memory(int(one)) for one in below)


def _workers(pid: int) -> list[int]:
    """The processes that compute."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    copied = [one for one in children if "outskirts.serving" in Path(f"/proc/{one}/cmdline").read_text()]
    return [int(one) for each in copied for one in Path(f"/proc/{each}/task/{each}/children").read_text().split()]


def kill(folder: Path, files: Sequence[Path], seconds: float) -> None:
    with server(folder, "--workers", "2") as (address, pid):
        rate = 0.5 * _wrk(address, files[0], 16, 5)[0]

        async def load() -> Counter[str]:
            asked = asyncio.create_task(_steady(address, pid, files, rate, seconds))
            await asyncio.sleep(seconds / 3)
            os.kill(_workers(pid)[0], signal.SIGKILL)
            return (await asked)[0]

        answers = asyncio.run(load())
        back = httpx.get(f"{address}/health").json()["workers"]
    print(f"one of two processes killed at {rate:.1f} pictures/s: {dict(answers)}; {back} processes compute afterwards")


def bad(folder: Path, file: Path) -> None:
    """300 bad requests: each must get a status of 4xx and a sentence, and memory must be back afterwards."""
    with server(folder, "--timeout", "5") as (address, pid):
        for _ in range(20):
            httpx.post(f"{address}/predict", content=file.read_bytes(), timeout=60).raise_for_status()
        before = _memory(pid)
        statuses: Counter[str] = Counter()
        with httpx.Client(base_url=address, timeout=60) as client:
            for kind, options in _bad_uploads(file.read_bytes()):
                answer = client.post("/predict", **options)
                sound = 400 <= answer.status_code < 500 and answer.json()["detail"].endswith(".")
                statuses[f"{answer.status_code}{'' if sound else f' FAULT: {kind} {answer.text}'}"] += 1
        statuses.update(_slow(address))
        after = _memory(pid)
        print(
            f"bad requests: {sum(statuses.values())}, by status: {dict(statuses)}; memory {before:.0f}, {after:.0f} MB"
        )
        words = ["schemathesis", "run", f"{address}/openapi.json", "--checks", "not_a_server_error", "-n", "50"]
        ended = subprocess.run(words, capture_output=True, text=True)
        print("schemathesis:", ended.returncode, *ended.stdout.splitlines()[-6:], sep="\n  ")
        httpx.post(f"{address}/predict", content=file.read_bytes(), timeout=60).raise_for_status()


def _bad_uploads(sound: bytes) -> Iterator[tuple[str, dict[str, object]]]:
    """Bad requests by what they are."""
    draws = random.Random(0)
    pictures = {form: BytesIO() for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")}
    for form, into in pictures.items():
        Image.new("RGB", (64, 48), (9, 99, 199)).save(into, form)
    for _ in range(100):
        form, content = draws.choice(list(pictures.items()))
        whole = content.getvalue()
        yield f"truncated {form}", {"content": whole[: draws.randrange(1, len(whole) // 2)]}
        yield "noise", {"content": draws.randbytes(draws.randrange(1, 5000))}
    for size in ((1, 1), (3, 3), (65_500, 1), (65_500, 65_500), (20_000, 20_000), (8000, 8000)):
        into = BytesIO()
        Image.new("1", size).save(into, "PNG")
        yield f"{size}", {"content": into.getvalue()}
    for kind in ("text/plain", "application/pdf", "video/mp4", "multipart/form-data", "application/json"):
        yield kind, {"content": sound, "headers": {"content-type": kind}}
    yield "10,000 files", {"files": [("image", (f"{place}.png", b"x")) for place in range(10_000)]}
    yield "no file", {"data": {"image": "x"}}
    yield "too large", {"content": bytes(33 * 2**20)}
    yield "empty", {"content": b""}
    for depth in (9, 1000, 100_000):
        yield "deep", {"content": b"[" * depth, "headers": {"content-type": "application/json"}}
    wrong = ({"image": "!"}, {"images": 3}, {"images": [{}]}, {"image": None}, 7, {"image": "QUJD"}, [])
    for _ in range(300 - 100 * 2 - 6 - 5 - 4 - 3 - 2):
        body = draws.choice(wrong)
        yield "JSON", {"json": body}


def _slow(address: str) -> list[str]:
    """The statuses of a body that never ends, and of one that ends too early."""
    host, port = address.removeprefix("http://").split(":")
    statuses = []
    for end in (False, True):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            if end:
                connection.shutdown(socket.SHUT_WR)
            said = connection.recv(1000)
            statuses.append(said.split()[1].decode() if said else "closed")
    return statuses


if __name__ == "__main__":
    main()
