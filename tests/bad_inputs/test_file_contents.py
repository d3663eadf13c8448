"""Damaged and odd files end in one sentence, wherever a command reads them."""

import csv
import io
import json
import stat
import tarfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st

import outskirts as osk

_TRAIN = "train ce --data train --val val --epochs 0 --batch-size 4 --precision fp32 --augment none --out out"
_CLIP = "train npos-clip --backbone clip:clip --epochs 0 --batch-size 4 --queue 5 --k 1 --boundary 2 --out out"
_EVALUATE = "evaluate run --test test --far fog=fog --detectors msp"
_BENCHMARK = "benchmark bench.yaml --methods ce --seeds 0 --detectors msp --out"
_NCIS = "synthesize ncis embed --model stable --run run --draws 2 --precision fp32 --out out"
_PREDICT = "predict guard test"
_PACK = "data pack --out ./out.parquet --data"
_EXTRACT = "extract val --mean 0,0,0 --std 1,1,1 --out out.npz --model"

#: Commands, by the files that they read, as patterns; FILE is the one that is wrong, and SET what it is fetched as.
READERS = {
    "config.yaml": ["train --config config.yaml --out out"],
    "bench.yaml": [
        f"{_BENCHMARK} out",
        "evaluate run --benchmark bench.yaml --detectors msp",
        "benchmark show bench.yaml",
    ],
    "bench/*.*": [f"{_BENCHMARK} bench", "benchmark page bench --out out.md"],
    "bench/*/*.*": [f"{_BENCHMARK} bench", "benchmark page bench --out out.md"],
    "run/config.yaml": [_EVALUATE, "report run", "synthesize boundary --run run --count 4 --k 1 --out out"],
    "run/model.safetensors": [_EVALUATE, f"{_TRAIN} --init run"],
    "run/outputs/*/*": [_EVALUATE],
    "run/*.json*": ["report run", _EVALUATE],
    "run/gallery/*": ["report run"],
    "run/results.csv": ["report run", _EVALUATE],
    "run/scores.safetensors": ["report run", _EVALUATE],
    "begun/*": ["train --resume begun"],
    "begun/checkpoint/*": ["train --resume begun"],
    "pool/*": ["data verify pool:pool", f"{_TRAIN} --synthetic pool:pool"],
    "half/*": ["synthesize id --data train --count 4 --generation-batch-size 1 --out half"],
    "a.csv": [f"{_PACK} csv:a.csv@train?attribute=sex"],
    "hot.csv": [f"{_PACK} csv:hot.csv@train?labels=ant,bee&group=who", f"{_PACK} csv:hot.csv@train?label=who"],
    "a.txt": [f"{_PACK} imglist:a.txt@train"],
    "a.npy": [f"{_PACK} a.npy"],
    "a.npz": [f"{_PACK} a.npz"],
    "a.parquet": [f"{_PACK} a.parquet"],
    "hf/*": [f"{_PACK} hf:hf"],
    "tokens/*": [f"{_CLIP} --data tokens:tokens --val tokens:tokens"],
    "clip/*": [f"{_CLIP} --data train --val val", "data extract --backbone clip:clip --data val --out out"],
    "stable/*.*": [_NCIS],
    "stable/*/*": [_NCIS],
    "fetched/*.json": ["data verify fetched"],
    "own.py": [f"{_EXTRACT} module:own:make?size=16"],
    "own.pt": [f"{_EXTRACT} module:own:make?size=16&weights=own.pt"],
    "timm.pt": [f"{_EXTRACT} timm:test_resnet?size=32&weights=timm.pt"],
    "classes.txt": [f"{_EXTRACT} own.onnx?size=16&classes=classes.txt"],
    "own.onnx": [f"{_EXTRACT} own.onnx?size=16", f"{_EXTRACT} own.onnx?size=16&features=flat"],
    "own.ts": [f"{_EXTRACT} torchscript:own.ts?size=16&output=0&features=1"],
    "own.pt2": [f"{_EXTRACT} own.pt2?size=16", f"{_EXTRACT} own.pt2?size=16&features=relu"],
    "vit/*": ["extract val --model hf:vit --out out.npz"],
    "photos.zip": [
        f"{_PACK} zip:photos.zip",
        f"{_TRAIN} --skip-corrupt".replace("val val", "val zip:photos.zip?inside=test"),
    ],
    "shard.tar": [f"{_PACK} wds:shard.tar", f"{_PACK} wds:shard.tar?image=png"],
    "bugs.*": ["data fetch SET", f"{_PACK} npz:FILE", f"{_PACK} zip:FILE", f"{_PACK} wds:FILE"],
    "locked.zip": ["data fetch SET", f"{_PACK} npz:FILE", f"{_PACK} parquet:FILE"],
    "guard/*.*": [_PREDICT, "monitor guard verdicts.csv", "evaluate --guard guard --test test"],
    "verdicts.csv": ["monitor guard verdicts.csv", "monitor guard verdicts.csv --state out.json"],
    "known/ant/*": ["guard run --calibrate known --detector energy --acceptance .7 --out out", "predict guard known"],
    "train/ant/*": [f"{_PACK} train", _TRAIN, f"{_PACK} train?jpeg=75"],
    "weights.pt": ["import openood weights.pt --data train --out out", f"{_TRAIN} --pretrained weights.pt"],
}

#: What no program expects in the place of a name, a number, a list or a mapping.
ODD: list[Any] = [
    *(None, True, 0, -1, 300_000_000, 2**70, 0.5, float("inf"), float("nan"), date(2020, 1, 1)),
    *("", "x", "é", "1", "9" * 5000, "../..", "~nosuchuser", "fifo.png", "a\nb", "x" * 300, "x/" * 2500),
    *([], {}, [[]], ["x", 1], [None], {"x": 1}, {1: 2}),
]
#: Whole files that readers may take too long for, or go too deep in: in YAML, the last holds 9 to the power of 9 words.
WHOLE = [
    *(b"", b"\0", b"[" * 100_000, b'{"a":' * 100_000, b"a: &a [*a]", b"&a {a: *a}", b"9" * 5000, b"x" * 100_000),
    "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 9)}]\n" for i in range(9)).encode(),
]

Change = tuple[str, ...]
Changed = tuple[Any, Change]


@st.composite
def edited(draw: st.DrawFn, tree: Any, place: str = "") -> Changed:
    """A tree of mappings and lists with one odd thing in it, and what that is."""
    inner = [*tree] if isinstance(tree, dict) else [*range(len(tree))] if isinstance(tree, list) else []
    if not inner or draw(st.integers(0, 5)) == 5:
        odd = draw(st.sampled_from(ODD))
        return odd, ("edited", place, f"{tree!r:.40} to {odd!r:.40}")
    key, new = draw(st.sampled_from(inner)), tree.copy()
    inside = f"{place}.{key}" if isinstance(tree, dict) else f"{place}[]"
    match draw(st.sampled_from(["go on", "go on", "go on", "leave out", "rename"])):
        case "leave out":
            del new[key]
            return new, ("left out", inside, f"{tree[key]!r:.40}")
        case "rename" if isinstance(tree, dict):
            name = draw(st.sampled_from(["x", 1, None, "../x", 1.5]))
            return {name if k == key else k: v for k, v in new.items()}, ("renamed", inside, f"{key} to {name}")
    new[key], change = draw(edited(tree[key], inside))
    return new, change


@st.composite
def edited_table(draw: st.DrawFn, text: str, delimiter: str) -> tuple[str, Change]:
    rows, change = draw(edited([*csv.reader(text.splitlines(), delimiter=delimiter)]))
    cells = [row if isinstance(row, list) else [row] for row in (rows if isinstance(rows, list) else [rows])]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(cells)
    return file.getvalue(), change


def _to_json(tree: Any) -> bytes:
    return json.dumps(tree, default=str).encode()


@st.composite
def edited_file(draw: st.DrawFn, name: str, content: bytes) -> tuple[bytes, Change]:
    """A file of a format that people or programs may write otherwise, with something odd where it is well-formed."""
    match Path(name).suffix:
        case ".yaml":
            tree, change = draw(edited(yaml.safe_load(content)))
            return yaml.safe_dump(tree).encode(), change
        case ".json":
            tree, change = draw(edited(json.loads(content)))
            return _to_json(tree), change
        case ".jsonl":
            lines, change = draw(edited([json.loads(line) for line in content.splitlines()]))
            return b"".join(_to_json(line) + b"\n" for line in (lines if isinstance(lines, list) else [lines])), change
        case ".csv" | ".txt" as suffix:
            text = content.decode("utf-8-sig")
            table, change = draw(edited_table(text, ";" if ";" in text else "," if suffix == ".csv" else " "))
            return table.encode("utf-8", "surrogatepass"), change
        case ".safetensors":
            size = int.from_bytes(content[:8], "little")
            tree, change = draw(edited(json.loads(content[8 : 8 + size])))
            header = _to_json(tree)
            return len(header).to_bytes(8, "little") + header + content[8 + size :], change
        case ".pt":
            tree = {**torch.load(io.BytesIO(content)), "body": {"0.weight": torch.zeros(2, 4)}, 0: torch.zeros(3)}
            whole = st.sampled_from([torch.nn.Linear(1, 1), torch.zeros(2)]).map(lambda w: (w, ("edited", "", "whole")))
            file = io.BytesIO()
            tree, change = draw(edited(tree) | whole)
            torch.save(tree, file)
            return file.getvalue(), change
        case ".onnx":
            return draw(edited_graph(content))
        case ".zip" | ".pt2" | ".ts" | ".tar" if name != "locked.zip":
            return draw(edited_archive(content))
        case ".jpg":
            return draw(turned(content))
    return draw(damaged(content))


@st.composite
def edited_graph(draw: st.DrawFn, content: bytes) -> Changed:
    """An ONNX file with another node, shape, type or weight in it; damaged where the format has no place for that."""
    onnx, json_format = pytest.importorskip("onnx"), pytest.importorskip("google.protobuf.json_format")
    tree, change = draw(edited(json_format.MessageToDict(onnx.load_model_from_string(content))))
    try:
        return json_format.ParseDict(tree, onnx.ModelProto()).SerializeToString(), change
    except (json_format.ParseError, ValueError, TypeError, AttributeError):
        return draw(damaged(content))


#: Names that a file in an archive may have.
_MEMBERS = [
    "../out.png",
    "/out.png",
    "a/../../out.png",
    "a/b/c.png",
    ".a.png",
    "x" * 300,
    "a.cls",
    "a.json",
    "\udcff.png",
    "",
]


@st.composite
def edited_archive(draw: st.DrawFn, content: bytes) -> Changed:
    """A zip or tar file with one of its files changed, called otherwise, left out or there twice, or a link."""
    zipped = zipfile.is_zipfile(io.BytesIO(content))
    files = _of_zip(content) if zipped else _of_tar(content)
    place = draw(st.integers(0, len(files) - 1))
    name, inner = files[place]
    what = draw(st.sampled_from(["edited", "edited", "renamed", "left out", "doubled", "linked"]))
    change = (what, "[]", name)
    match what:
        case "edited":
            inner, (_, part, told) = draw(wrong_file(name, inner))
            files[place], change = (name, inner), (what, f"[{PurePath(name).suffix}]{part}", told)
        case "renamed":
            files[place] = draw(st.sampled_from(_MEMBERS)), inner
        case "left out":
            del files[place]
        case "doubled":
            files.append((name, draw(st.sampled_from([inner, b"", b"x"]))))
        case "linked":
            files[place] = name, None
    return (_to_zip(files) if zipped else _to_tar(files)), change


def _of_zip(content: bytes) -> list[tuple[str, bytes | None]]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return [(info.filename, packed.read(info)) for info in packed.infolist() if not info.is_dir()]


def _of_tar(content: bytes) -> list[tuple[str, bytes | None]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        return [(one.name, packed.extractfile(one).read()) for one in packed if one.isreg()]


def _to_zip(files: list[tuple[str, bytes | None]]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as packed:
        warnings.simplefilter("ignore")
        for name, inner in files:
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            info.external_attr = (stat.S_IFLNK if inner is None else stat.S_IFREG) << 16
            packed.writestr(info, inner or b"/etc/passwd")
    return file.getvalue()


def _to_tar(files: list[tuple[str, bytes | None]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as packed:
        for name, inner in files:
            info = tarfile.TarInfo(name)
            if inner is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(inner)
            packed.addfile(info, io.BytesIO(inner or b""))
    return file.getvalue()


@st.composite
def turned(draw: st.DrawFn, content: bytes) -> Changed:
    """A photograph whose EXIF data says something odd of how it lies."""
    tag = b"\x01\x12"
    before, found, after = content.partition(tag + b"\0\3\0\0\0\1\0\6\0\0")
    kind = draw(
        st.sampled_from([b"\0\3\0\0\0\1", b"\0\2\0\0\0\4", b"\0\7\0\0\0\4"]) | st.binary(min_size=6, max_size=6)
    )
    odd = kind + draw(st.binary(min_size=4, max_size=4))
    return before + tag + odd + after if found else content, ("edited", "[exif]", odd.hex())


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> tuple[bytes, Change]:
    """A file that was cut off, or has wrong bytes in a few places, nearer to its beginning or its end than between."""
    new = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        # Of each sign: the interesting parts of most formats are at one end or the other.
        place = draw(st.integers(-len(new), max(0, len(new) - 1)))
        match draw(st.sampled_from(["change", "change", "insert", "cut"])):
            case "change":
                new[place : place + 1 or None] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                new[place:place] = draw(st.binary(max_size=9) | st.sampled_from([b"\0", b"\xe4", b"\n", b"[", b"9"]))
            case "cut":
                del new[place:]
    return bytes(new), ("damaged", "", "")


@st.composite
def replaced(draw: st.DrawFn, content: bytes) -> tuple[bytes, Change]:
    """Another file, or a text that another program has saved in its own encoding."""
    try:
        text = content.decode().replace("a", "ä", 1)
    except UnicodeDecodeError:
        return draw(st.sampled_from(WHOLE)), ("replaced", "", "")
    code = draw(st.sampled_from(["latin-1", "utf-16", "utf-8-sig", "utf-8", ""]))
    if not code:
        return draw(st.sampled_from(WHOLE)), ("replaced", "", "")
    return text.encode(code, "replace"), ("recoded", "", code)


def wrong_file(name: str, content: bytes) -> st.SearchStrategy[tuple[bytes, Change]]:
    # Formats have many places.
    return st.one_of(edited_file(name, content), edited_file(name, content), damaged(content), replaced(content))


@pytest.fixture
def contents(everything) -> Callable[[str], dict[str, bytes]]:
    """The files of a pattern that are read."""

    def contents(pattern: str) -> dict[str, bytes]:
        files = [
            file for file in sorted(everything.glob(pattern)) if file.is_file() and file.suffix not in (".html", "")
        ]
        return {str(file.relative_to(everything)): file.read_bytes() for file in files}

    return contents


@pytest.mark.parametrize("pattern", READERS)
def test_a_wrong_file_ends_in_a_sentence(pattern, contents, archives, here, answers, each_of):
    right = contents(pattern)

    @each_of(st.data())
    def check(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*right]))
        wrong, change = data.draw(wrong_file(name, right[name]))
        words = data.draw(st.sampled_from(READERS[pattern])).replace("FILE", name)
        words = words.replace("SET", archives.get(name, ""))
        (here() / name).write_bytes(wrong)
        answers(words.split(), words, (*change, name))


def _scored(name: str) -> SimpleNamespace:
    """What a command would answer that scores some outputs with a detector."""
    try:
        detector = osk.detectors.Detector.load(name)
        scores = detector.score(osk.Outputs(torch.eye(4), torch.eye(4), torch.arange(4)))
    except osk.OutskirtsError as error:
        return SimpleNamespace(code=2, out="", err=f"outskirts: {error}")
    except Exception:
        return SimpleNamespace(code=1, out="", err=traceback.format_exc())
    return SimpleNamespace(code=0, out=str(scores), err="")


def test_a_wrong_detector_ends_in_a_sentence(contents, here, answers, each_of):
    ((name, right),) = contents("detector.safetensors").items()

    @each_of(wrong_file(name, right))
    def check(given: tuple[bytes, Change]) -> None:
        wrong, change = given
        (here() / name).write_bytes(wrong)
        answers(["score", name], f"score {name}", (*change, name), lambda command, name: _scored(name))
