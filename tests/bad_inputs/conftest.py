"""A folder with one of everything that commands read, anew for each wrong input, and what a command may answer."""

import hashlib
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tarfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from PIL import ExifTags, Image

import outskirts as osk
from outskirts.data.catalogue import Entry, entries, fetch_entry
from outskirts.data.download import Remote
from outskirts.guard.predicting import predict_to
from outskirts.testing.clip import save_small_clip

settings.register_profile("bad inputs", deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.load_profile("bad inputs")

SMALL = {"epochs": 0, "batch_size": 4, "device": "cpu", "precision": "fp32", "augment": "none"}
#: Seconds after which a command hangs.
LONGEST = 60
#: Archives of one set, by the names by which the set is fetched.
ARCHIVES = {
    "zipped": "bugs.zip",
    "tarred": "bugs.tar.gz",
    "plain": "bugs.tar",
    "xz": "bugs.tar.xz",
    "locked": "locked.zip",
}
#: A user's own network, in a file.
OWN = """from torch import nn

def make():
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    return nn.Sequential(*layers)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """Where all tests work, so that paths in the records of runs stay right, and words such as ../.. and ~ lead nowhere
    else."""
    return tmp_path_factory.mktemp("copy") / "home" / "here"


@pytest.fixture(scope="session")
def everything(draw, stable_folder, place, tmp_path_factory) -> Path:
    """The folder to be copied. Nothing in it is large, so that no valid command takes long."""
    here = place
    here.mkdir(parents=True)
    draw(here / "train", count=4)
    draw(here / "val", count=2, seed=1)
    draw(here / "test", count=2, seed=4)
    draw(here / "more", count=4, seed=5)
    draw(here / "known", count=3, seed=6)
    draw(here / "fog", (), count=3, seed=2)
    draw(here / "flies", ("fly",), count=3, seed=3)
    # A name that is in no encoding.
    draw(here / "odd", ("ant", "\udcff"), count=2)
    about = Image.Exif()
    about[ExifTags.Base.Orientation] = 6
    Image.open(here / "train" / "ant" / "0.png").save(here / "train" / "ant" / "j.jpg", exif=about)
    shutil.copytree(stable_folder, here / "stable")
    save_small_clip(here / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        _write_lists_and_arrays(here)
        _write_archives(here)
        _write_classifiers()
        _write_runs()
        _write_made_sets(patch)
    return here.rename(tmp_path_factory.mktemp("everything") / "kept")


def _write_lists_and_arrays(here: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    np.save(here / "a.npy", pixels)
    np.savez(here / "a.npz", images=pixels, labels=np.array([0, 1, 0, 1]))
    (here / "a.csv").write_text("image,label,sex\nant/0.png,0,m\nbee/0.png,1,f\n", encoding="utf-8")
    rows = "image;ant;bee;who\r\nant/0;1;0;x\r\nant/1;1;0;y\r\nbee/0.png;0;1;x\r\nbee/1.png;0;1;y\r\n"
    (here / "hot.csv").write_text(rows, encoding="utf-8-sig", newline="")
    (here / "classes.txt").write_text("bee\nant\n", encoding="utf-8")
    (here / "a.txt").write_text("ant/0.png 0\nbee/0.png 1\n", encoding="utf-8")
    (here / "latin.txt").write_bytes("ant/0.png 0\nk\xe4fer.png 1\n".encode("latin-1"))
    (here / "noise").write_bytes(np.random.default_rng(0).bytes(500))
    (here / "empty").mkdir()
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 4)}, "epoch": 3}, here / "weights.pt")
    (here / "config.yaml").write_text(yaml.safe_dump({"method": "ce", "data": "train", **SMALL}))
    sets = {"train": "train", "val": "val", "test": "test", "ood": {"near": {"flies": "flies"}, "far": {"fog": "fog"}}}
    told = {"name": "bugs", "description": "Bugs.", "classes": "0-1"}
    (here / "bench.yaml").write_text(
        yaml.safe_dump({**sets, **told, "recipes": {"all": SMALL}, "variants": {"pool": {"synthetic": "pool:pool"}}})
    )


def _write_archives(here: Path) -> None:
    for kind in ("zip", "tar", "gztar", "xztar"):
        shutil.make_archive(str(here / "bugs"), kind, here / "flies")
    locked = bytearray((here / "bugs.zip").read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := locked.find(header, place + 1)) >= 0:
            locked[place + flags] |= 1
    (here / "locked.zip").write_bytes(locked)
    shutil.make_archive(str(here / "photos"), "zip", here, "test")
    with tarfile.open(here / "shard.tar", "w") as shard:
        for place, file in enumerate(sorted((here / "more").glob("*/*.png"))):
            shard.add(file, f"x/{place}.png")
            (label := here / "label").write_text(json.dumps({"label": file.parent.name}))
            shard.add(label, f"x/{place}.json")
            label.unlink()


def _write_classifiers() -> None:
    """One network in every kind of file, and small ones of the libraries."""
    Path("own.py").write_text(OWN)
    exec(OWN, named := {})
    own, images = named["make"]().eval(), torch.zeros(2, 3, 16, 16)
    torch.save(own.state_dict(), "own.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(_WithFeatures(own), images).save("own.ts")
        program = torch.export.export(own, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, "own.pt2")
    Path("own.onnx").write_bytes(_onnx(own))
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), "timm.pt")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers = pytest.importorskip("transformers")
    about = transformers.ViTConfig(**shape, image_size=16, patch_size=8, num_labels=2)
    transformers.ViTForImageClassification(about).save_pretrained("vit")
    processor = {"size": {"height": 16, "width": 16}, "resample": 3, "do_normalize": True}
    Path("vit/preprocessor_config.json").write_text(json.dumps({**processor, "image_mean": [0.5] * 3}))


class _WithFeatures(torch.nn.Module):
    def __init__(self, own: torch.nn.Sequential) -> None:
        super().__init__()
        self.body, self.head = own[:-1], own[-1]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(images)
        return self.head(features), features


def _onnx(own: torch.nn.Sequential) -> bytes:
    """The network as an ONNX file."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weights = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in own.state_dict().items()]
    nodes = [
        helper.make_node("Conv", ["images", "0.weight", "0.bias"], ["maps"], strides=[4, 4]),
        helper.make_node("Relu", ["maps"], ["parts"]),
        helper.make_node("GlobalAveragePool", ["parts"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "4.weight", "4.bias"], ["logits"], transB=1),
    ]
    images, logits = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("images", ["batch", 3, 16, 16]), ("logits", ["batch", 2]))
    )
    graph = helper.make_graph(nodes, "own", [images], [logits], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def _write_runs() -> None:
    osk.train("ce", "train", val="val", out="run", **SMALL)
    osk.evaluate_run("run", test="test", ood={"far": {"fog": "fog"}}, detectors=["msp"])
    osk.train("ascood", "train", val="val", out="pixel", outliers="shuffle", **SMALL)
    osk.benchmark("bench.yaml", methods=["ce"], seeds=[0], detectors=["msp"], out="bench")
    osk.synthesize_id("pool", data="train", count=4)
    guard = osk.Guard.fit("run", calibration="known", detector="energy", acceptance=0.8)
    predict_to(osk.Guard.load(guard.save("guard")), osk.open("more"), Path("verdicts.csv"))
    with pytest.raises(KeyboardInterrupt):
        osk.train("ce", "train", val="val", out="begun", progress=_stop, **{**SMALL, "epochs": 4})
    with pytest.raises(KeyboardInterrupt):
        osk.synthesize_id("half", data="train", count=4, generation_batch_size=1, progress=_stop)


def _write_made_sets(patch: pytest.MonkeyPatch) -> None:
    osk.pack("train", "./a.parquet")
    osk.extract_tokens("clip:clip", "train", "tokens", shard=4)
    patch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    images = [{"bytes": Path(f"fog/{i}.png").read_bytes(), "path": None} for i in range(3)]
    pytest.importorskip("datasets").Dataset.from_dict({"image": images, "label": [0, 1, 0]}).save_to_disk("hf")
    fetch_entry(_entry("fetched", "bugs.zip", Path.cwd()), Path.cwd())
    outputs = osk.Outputs(torch.eye(4).repeat(3, 1), torch.eye(4).repeat(3, 1), torch.arange(12) % 4)
    osk.detectors.create("knn:k=2").fit(outputs).save("detector.safetensors")


def _entry(name: str, file: str, folder: Path) -> Entry:
    return Entry(name, "Bugs", "https://example.org", "any", (Remote(file, [f"file://{folder / file}"]),))


def _stop(*told: object) -> None:
    done, count = (number for number in told if isinstance(number, int))
    if 2 * done > count:
        raise KeyboardInterrupt


def _make_equal(source: Path, place: Path) -> None:
    """Writes and removes only what differs: it takes long to remove large files."""
    if place.is_symlink() or not place.is_dir():
        _remove([place])
        place.mkdir()
    wanted = {path.name: path for path in source.iterdir()}
    _remove(path for path in place.iterdir() if path.name not in wanted)
    for name, path in wanted.items():
        copy = place / name
        if path.is_dir():
            _make_equal(path, copy)
        elif not os.path.lexists(copy) or _state(copy) != _state(path):
            _remove([copy])
            shutil.copy2(path, copy)


def _state(path: Path) -> tuple[int, int, int]:
    about = path.lstat()
    return about.st_mode, about.st_size, about.st_mtime_ns


def _remove(paths: Iterable[Path]) -> None:
    for path in [*paths]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.fixture
def here(everything, place, monkeypatch) -> Iterator[Callable[[], Path]]:
    """Puts a new copy of everything, with a pipe, in the place of the last one, and works in it."""
    monkeypatch.setenv("HOME", str(place.parent))
    monkeypatch.delenv("OUTSKIRTS_DEBUG", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", _no_network)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name, file in ARCHIVES.items():
        monkeypatch.setitem(entries(), name, _entry(name, file, place))

    def renew() -> Path:
        sys.modules.pop("own", None)
        importlib.invalidate_caches()
        monkeypatch.chdir("/")
        for folder in (place.parents[1], place.parent):
            folder.mkdir(exist_ok=True)
            _remove(path for path in folder.iterdir() if path not in place.parents and path != place)
        _make_equal(everything, place)
        os.mkfifo(place / "fifo.png")
        monkeypatch.chdir(place)
        return place

    yield renew
    monkeypatch.chdir("/")


def _no_network(*given: object, **named: object) -> None:
    raise socket.gaierror("no network in tests")


@pytest.fixture
def each_of(request) -> Callable[[Any], Callable[[Callable[[Any], None]], None]]:
    """Calls what it decorates, at once, with examples of a strategy: few, always the same, and others in every test; in
    `fuzz.py`, new ones for as long as it says."""
    fuzz = request.config.pluginmanager.get_plugin("fuzz")
    name = request.node.name

    def each_of(strategy: Any) -> Callable[[Callable[[Any], None]], None]:
        def run(check: Callable[[Any], None]) -> None:
            few = settings(max_examples=10, phases=[Phase.generate]) if fuzz else settings(max_examples=8)
            for start in fuzz.seeds() if fuzz else [zlib.crc32(name.encode())]:
                seed(start)(few(given(strategy)(check)))()

        return run

    return each_of


class Hang(BaseException):
    """What no program catches by mistake."""


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def late(signum: int, frame: object) -> None:
        raise Hang(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def archives() -> dict[str, str]:
    """The name by which each archive is fetched."""
    return {file: name for name, file in ARCHIVES.items()}


@pytest.fixture
def answers(outskirts, here, request) -> Callable[..., None]:
    """Runs a command, or what takes its words, which must do what it is asked, or say in a sentence why not; `fuzz.py`
    counts what it did."""
    fuzz = request.config.pluginmanager.get_plugin("fuzz")

    def again(right: str, run: Callable[..., Any]) -> dict[str, str]:
        # Some times are written in whole seconds.
        time.sleep(1)
        start = (here(), time.time_ns())[1]
        return _effect(start, run(*right.split()).out)

    def answers(words: list[str], right: str, change: Sequence[str] = (), run: Callable[..., Any] = outskirts) -> None:
        # As the real one has it: names of files may be in no encoding.
        sys.stderr.reconfigure(errors="backslashreplace")
        if fuzz:
            fuzz.begins(words, change)
        start, fault, outcome = time.time_ns(), "", None
        try:
            with _within(LONGEST):
                outcome = run(*words)
            # Who asks where an error occurred is shown a trace.
            fault = "" if {"-v", "--verbose"} & {*words} and outcome.code in (0, 2) else _fault(outcome)
        except Hang as hang:
            fault = "".join(traceback.format_exception(hang))
        if fuzz:
            effect = _effect(start, outcome.out) if outcome and not outcome.code else {}
            effect = {name: one for name, one in effect.items() if not change or not name.endswith(change[-1])}
            fuzz.ended(words, right, change, outcome, fault, effect, lambda: again(right, run))
        else:
            assert not fault, (words, change, fault)

    return answers


def _effect(since: int, printed: str) -> dict[str, str]:
    """What a command has printed, and the hash of each file that it has written since a moment, in nanoseconds."""
    files = (
        path for path in sorted(Path.cwd().parent.rglob("*")) if path.is_file() and path.stat().st_mtime_ns > since
    )
    return {"": printed, **{str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}}


def _fault(outcome: Any) -> str:
    """What no answer may be, if it is that."""
    # What is wrong with options is in a box.
    sentence = "outskirts: " in outcome.err or "For full helptext" in outcome.err
    if "Traceback" not in outcome.err and (outcome.code == 0 or (outcome.code == 2 and sentence)):
        return ""
    return f"exit code {outcome.code}: {outcome.err}"
