"""Damaged and odd files end in one sentence, wherever a command reads them."""

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st

_TRAIN = "train ce --data train --val val --epochs 0 --batch-size 4 --precision fp32 --augment none --out out"
_EVALUATE = "evaluate run --test test --far fog=fog --detectors msp"
_PACK = "data pack --out ./out.parquet --data"

#: Commands, by the files that they read, as patterns.
READERS = {
    "config.yaml": ["train --config config.yaml --out out"],
    "bench.yaml": [
        "benchmark bench.yaml --methods ce --seeds 0 --detectors msp --out out",
        "evaluate run --benchmark bench.yaml --detectors msp",
        "benchmark show bench.yaml",
    ],
    "bench/*.json": ["benchmark bench.yaml --methods ce --seeds 0 --detectors msp --out bench"],
    "run/config.yaml": [_EVALUATE, "report run", "synthesize boundary --run run --count 4 --k 1 --out out"],
    "run/model.safetensors": [_EVALUATE, f"{_TRAIN} --init run"],
    "run/outputs/*/*.safetensors": [_EVALUATE],
    "run/*.json*": ["report run", _EVALUATE],
    "run/gallery/*": ["report run"],
    "run/results.csv": ["report run"],
    "run/scores.safetensors": ["report run"],
    "begun/*": ["train --resume begun"],
    "begun/checkpoint/*": ["train --resume begun"],
    "pool/*": ["data verify pool:pool", f"{_TRAIN} --synthetic pool:pool"],
    "half/*": ["synthesize id --data train --count 4 --generation-batch-size 1 --out half"],
    "a.csv": [f"{_PACK} csv:a.csv@train?attribute=sex"],
    "a.txt": [f"{_PACK} imglist:a.txt@train"],
    "a.npy": [f"{_PACK} a.npy"],
    "a.npz": [f"{_PACK} a.npz"],
    "a.parquet": [f"{_PACK} a.parquet"],
    "train/ant/*": [f"{_PACK} train", _TRAIN, f"{_PACK} train?jpeg=75"],
    "weights.pt": ["import openood weights.pt --data train --out out", f"{_TRAIN} --pretrained weights.pt"],
}

#: What no program expects in the place of a name, a number, a list or a mapping.
ODD: list[Any] = [
    *(None, True, 0, -1, 2**70, 0.5, float("inf"), float("nan"), date(2020, 1, 1)),
    *("", "x", "é", "1", "../..", "~nosuchuser", "fifo.png", "a\nb", "x" * 300),
    *([], {}, [[]], ["x", 1], [None], {"x": 1}, {1: 2}),
]


@st.composite
def edited(draw: st.DrawFn, tree: Any) -> Any:
    """A tree of mappings and lists with one odd thing in it."""
    inner = [*tree] if isinstance(tree, dict) else [*range(len(tree))] if isinstance(tree, list) else []
    if not inner or draw(st.integers(0, 5)) == 5:
        return draw(st.sampled_from(ODD))
    key, new = draw(st.sampled_from(inner)), tree.copy()
    match draw(st.sampled_from(["go on", "go on", "go on", "leave out", "rename"])):
        case "go on":
            new[key] = draw(edited(tree[key]))
        case "leave out":
            del new[key]
        case "rename" if isinstance(tree, dict):
            new = {draw(st.sampled_from(["x", 1, None, "../x", 1.5])) if k == key else k: v for k, v in new.items()}
    return new


@st.composite
def edited_table(draw: st.DrawFn, text: str, delimiter: str) -> str:
    rows = draw(edited([*csv.reader(text.splitlines(), delimiter=delimiter)]))
    cells = [row if isinstance(row, list) else [row] for row in (rows if isinstance(rows, list) else [rows])]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(cells)
    return file.getvalue()


@st.composite
def edited_file(draw: st.DrawFn, name: str, content: bytes) -> bytes:
    """A file of a format that people or programs may write otherwise, with something odd where it is well-formed."""
    match Path(name).suffix:
        case ".yaml":
            return yaml.safe_dump(draw(edited(yaml.safe_load(content)))).encode()
        case ".json":
            return json.dumps(draw(edited(json.loads(content))), default=str).encode()
        case ".jsonl":
            lines = draw(edited([json.loads(line) for line in content.splitlines()]))
            lines = lines if isinstance(lines, list) else [lines]
            return "".join(f"{json.dumps(line, default=str)}\n" for line in lines).encode()
        case ".csv" | ".txt" as suffix:
            table = draw(edited_table(content.decode(), "," if suffix == ".csv" else " "))
            return table.encode("utf-8", "surrogatepass")
        case ".safetensors":
            size = int.from_bytes(content[:8], "little")
            header = json.dumps(draw(edited(json.loads(content[8 : 8 + size]))), default=str).encode()
            return len(header).to_bytes(8, "little") + header + content[8 + size :]
        case ".pt":
            file = io.BytesIO()
            tree: Any = {"state_dict": {"body.0.weight": torch.zeros(2, 4)}, "epoch": 3, 0: torch.zeros(3)}
            torch.save(draw(edited(tree) | st.just(torch.nn.Linear(1, 1)) | st.just(torch.zeros(2))), file)
            return file.getvalue()
    return draw(damaged(content))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
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
    return bytes(new)


@pytest.mark.parametrize("pattern", READERS)
def test_a_wrong_file_ends_in_a_sentence(pattern, everything, here, answers, each_of):
    files = [file for file in sorted(everything.glob(pattern)) if file.is_file() and file.suffix not in (".html", "")]
    contents = {str(file.relative_to(everything)): file.read_bytes() for file in files}

    @each_of(st.data())
    def check(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*contents]))
        wrong = data.draw(edited_file(name, contents[name]) | damaged(contents[name]))
        (here() / name).write_bytes(wrong)
        answers(data.draw(st.sampled_from(READERS[pattern])).split())
