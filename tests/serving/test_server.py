"""A whole server: what it says, and that it loses nothing."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

import outskirts as osk
from outskirts import OutskirtsError
from outskirts.guard.opening import opened
from outskirts.guard.predicting import rows_of
from outskirts.serving import Computing, Place
from outskirts.serving import server as server_module


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def guard(kept):
    return osk.Guard.load(kept)


def expected(guard, files, top=1):
    rows = rows_of(guard, opened(files), top, "cpu")
    return [{**row, "file": Path(row["file"]).name} for row in rows]


def posted(client, files, **query):
    parts = [("image", (file.name, file.read_bytes())) for file in files]
    return client.post("/predict", files=parts, params=query)


def problem(answer, status):
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document.keys() == {"type", "title", "status", "detail"} and document["status"] == status
    assert document["detail"].endswith(".") and not re.search(r"Traceback|/home|/tmp|site-packages", document["detail"])
    return document["detail"]


def test_verdicts_are_those_of_predict_bit_for_bit(client, guard, bugs):
    files = sorted((bugs / "fog").glob("*.png"))
    answer = posted(client, files, top=2)
    assert answer.json()["verdicts"] == expected(guard, files, top=2)
    assert answer.json()["guard"] == "bugs"
    raw = client.post("/predict", content=files[0].read_bytes(), headers={"content-type": "image/png"})
    assert raw.json()["verdicts"] == [{**expected(guard, files[:1])[0], "file": "image"}]
    coded = {"name": "a", "image": base64.b64encode(files[0].read_bytes()).decode()}
    text = client.post("/predict", json={"images": [coded]})
    assert text.json()["verdicts"] == [{**expected(guard, files[:1])[0], "file": "a"}]


def test_pictures_of_one_name_are_not_mixed_up(client, guard, bugs):
    sound = (bugs / "fog" / "0.png").read_bytes()
    answer = client.post("/predict", files=[("image", ("a.png", content)) for content in (b"no", sound, b"no")])
    first, second, third = answer.json()["verdicts"]
    assert first == third == {"file": "a.png", "error": "a.png cannot be decoded (cannot identify image file)."}
    assert second == {**expected(guard, [bugs / "fog" / "0.png"])[0], "file": "a.png"}


def test_the_inference_protocol(client, guard, bugs):
    assert client.get("/v2").json()["name"] == "outskirts"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/bugs/ready").json() == {"name": "bugs", "ready": True}
    model = client.get("/v2/models/bugs").json()
    assert [one["name"] for one in model["outputs"]] == ["label", "confidence", "score", "p_value", "accepted"]
    file = bugs / "fog" / "0.png"
    row = expected(guard, [file])[0]
    pixels = np.asarray(Image.open(file).convert("RGB"))
    coded = base64.b64encode(file.read_bytes()).decode()
    for data, name, kind, shape in (
        ([coded], "image", "BYTES", [1]),
        (pixels.ravel().tolist(), "pixels", "UINT8", [1, *pixels.shape]),
        ([pixels.tolist()], "pixels", "UINT8", [1, *pixels.shape]),
    ):
        tensor = {"name": name, "datatype": kind, "shape": shape, "data": data}
        answer = client.post("/v2/models/bugs/infer", json={"id": "7", "inputs": [tensor]}).json()
        assert answer["id"] == "7" and answer["model_name"] == "bugs"
        assert {one["name"]: one["data"] for one in answer["outputs"]} == {
            one["name"]: [row[one["name"]]] for one in model["outputs"]
        }
    asked = client.post("/v2/models/bugs/infer", json={"inputs": [tensor], "outputs": [{"name": "score"}]}).json()
    assert [one["name"] for one in asked["outputs"]] == ["score"]
    for wrong in (
        {},
        [],
        {"inputs": []},
        {"inputs": [{**tensor, "shape": [2]}]},
        {"inputs": [{**tensor, "shape": [1, 0, 1, 3]}]},
        {"inputs": [{**tensor, "data": [300] * pixels.size}]},
        {"inputs": [{**tensor, "data": [[1], [2, 3]]}]},
        {"inputs": [{**tensor, "datatype": "FP32"}]},
        {"inputs": [tensor], "outputs": [{"name": "logits"}]},
        {"inputs": [tensor], "id": 3},
    ):
        problem(client.post("/v2/models/bugs/infer", json=wrong), 422)
    problem(client.post("/v2/models/none/infer", json={}), 404)


def test_what_it_says_of_itself(client, kept):
    assert client.get("/health").json() == {"status": "ready", "workers": 1}
    (info,) = client.get("/info").json()["guards"]
    about = json.loads((kept / "guard.json").read_text())
    assert info["about"] == about and info["version"] == about["digest"] and info["near"] is False
    assert sum(info["histogram"]["counts"]) == 80 and info["thresholds"][0]["n"] == 80
    assert str(kept) not in client.get("/info").text
    text = client.get("/metrics").text
    assert 'outskirts_images_total{guard="bugs",verdict="accepted"}' in text and "outskirts_workers 1.0" in text
    (drift,) = client.get("/drift").json()["guards"]
    assert drift["images"] > 0 and drift["alarm_at"] == 100


def test_what_is_wrong_is_a_sentence(client, bugs):
    file = (bugs / "fog" / "0.png").read_bytes()
    assert "cannot be decoded" in problem(
        client.post("/predict", content=b"no", headers={"content-type": "image/png"}), 422
    )
    assert "no guard 'x'" in problem(client.post("/predict?guard=x", content=file), 404)
    assert "a number from 1 to 2" in problem(client.post("/predict?top=3", content=file), 422)
    assert "top: " in problem(client.post("/predict?top=x", content=file), 422)
    assert "no training images" in problem(client.post("/predict?near=3", content=file), 422)
    problem(client.get("/predict"), 405)
    problem(client.get("/../etc/passwd"), 404)
    tiny = BytesIO()
    Image.new("RGB", (1, 1)).save(tiny, "PNG")
    assert "1x1" in problem(client.post("/predict", content=tiny.getvalue()), 422)
    wide = BytesIO()
    Image.new("1", (65500, 1000)).save(wide, "PNG")
    assert "at most 50,000,000 are read" in problem(client.post("/predict", content=wide.getvalue()), 422)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    assert "at most 33,554,432 bytes" in problem(client.post("/predict", content=bytes(2**25 + 1)), 413)

    def chunks():
        for _ in range(33):
            yield bytes(2**20)

    problem(client.post("/predict", content=chunks()), 413)


def test_a_key_and_a_full_queue(strict_server, bugs):
    files = sorted((bugs / "fog").glob("*.png"))
    with httpx.Client(base_url=strict_server, timeout=60) as client:
        assert "A key is needed" in problem(client.get("/info"), 401)
        problem(client.get("/info", headers={"X-API-Key": "opensesamé".encode()}), 401)
        assert client.get("/health").status_code == client.get("/v2/health/ready").status_code == 200
        assert client.get("/info", headers={"Authorization": "Bearer opensesame"}).status_code == 200
        client.headers["X-API-Key"] = "opensesame"
        full = posted(client, files[:3])
        assert "Too many images" in problem(full, 429) and int(full.headers["retry-after"]) >= 1
        (row,) = posted(client, files[:1], near=2).json()["verdicts"]
        assert len(row["near"]) == 2 and row["near"][0]["label"] in ("ant", "bee")
        assert row["near"][0]["distance"] <= row["near"][1]["distance"]
        assert row["near"][0]["picture"].startswith("data:image/")


class Asking(threading.Thread):
    """Asks without a pause until it is refused a connection; keeps what it was answered, and what was lost."""

    def __init__(self, address, content):
        super().__init__()
        self.address, self.content, self.rows, self.lost = address, content, [], []
        self.go_on = True

    def run(self):
        with httpx.Client(base_url=self.address, timeout=60) as client:
            while self.go_on:
                try:
                    answer = client.post("/predict", content=self.content)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    self.lost.append(repr(error))
                else:
                    self.rows.append(answer.json().get("verdicts", answer.text))


def test_under_load_a_process_is_killed_a_guard_changes_and_the_end_loses_nothing(
    serving_command, kept, guarded, bugs, draw, tmp_path
):
    folder = tmp_path / "bugs"
    shutil.copytree(kept, folder)
    file = bugs / "fog" / "0.png"
    before = {**expected(osk.Guard.load(kept), [file])[0], "file": "image"}
    other = osk.Guard.fit(
        guarded, calibration=draw(tmp_path / "c", count=30, seed=4), detector="energy", acceptance=0.8
    )
    after = {**expected(other, [file])[0], "file": "image"}
    # In batches of one, scores have the bits of those of predict; in others, the last bits may be others.
    options = ("--workers", 2, "--max-batch", 1, "--state", tmp_path / "state")
    with serving_command(folder, *options) as (address, process):
        asking = [Asking(address, file.read_bytes()) for _ in range(4)]
        for thread in asking:
            thread.start()
        time.sleep(1)
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        time.sleep(2)
        shutil.rmtree(folder)
        other.save(tmp_path / "other")
        os.rename(tmp_path / "other", folder)
        wait_until(lambda: httpx.get(f"{address}/info").json()["guards"][0]["about"]["detector"]["name"] == "energy")
        time.sleep(1)
        (folder / "guard.json").write_text("{")
        time.sleep(3)
        assert 'outskirts_reloads_total{guard="bugs",outcome="failed"} 1.0' in httpx.get(f"{address}/metrics").text
        process.terminate()
        for thread in asking:
            thread.join(30)
        said = process.stderr.read()
        assert process.wait(30) == 0
    assert [thread.lost for thread in asking] == [[]] * 4
    rows = [row for thread in asking for row in thread.rows]
    assert len(rows) > 20 and all(row in ([before], [after]) for row in rows)
    assert [before] in rows and rows[-1] == [after]
    for sentence in ("(exit code -9). Another one begins", "is loaded again", "cannot be loaded", "has ended"):
        assert sentence in said
    assert json.loads((tmp_path / "state" / "bugs.json").read_text())["drifts"][0]["images"] > 0


def workers_of(pid):
    """The processes that compute: children of the one from which they are copied."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found += [child] if "outskirts.serving" in Path(f"/proc/{child}/cmdline").read_text() else []
    return [int(one) for pid in found for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition, seconds=40):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_half_a_request_holds_nothing_up(client, server, bugs):
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le")
        with socket.create_connection((host, int(port))) as short:
            short.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            short.shutdown(socket.SHUT_WR)
            assert posted(client, [bugs / "fog" / "0.png"]).status_code == 200


@pytest.mark.parametrize(
    ("guards", "options", "told"),
    [
        ([], {}, "Name the folder of a guard"),
        (["nowhere"], {}, "nowhere is not the folder of a guard"),
        (["KEPT", "KEPT"], {}, "Two guards are called 'bugs'"),
        (["KEPT", "OTHER"], {"computing": Computing(train="x")}, "Training images are those of one guard"),
        (["KEPT"], {"place": Place("300.1.1.1")}, "Nothing can listen at 300.1.1.1"),
        (["KEPT"], {"place": Place(port=99999)}, "Nothing can listen at 127.0.0.1, port 99999"),
        (["KEPT"], {"workers": 0}, "workers must be"),
        (["KEPT"], {"alpha": 1}, "alpha must be"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(kept, tmp_path, guards, options, told):
    shutil.copytree(kept, tmp_path / "other")
    folders = {"KEPT": kept, "OTHER": tmp_path / "other"}
    with pytest.raises(OutskirtsError, match=told):
        osk.serve([folders.get(one, one) for one in guards], **options)


@pytest.mark.parametrize(("host", "key", "told"), [("0.0.0.0", "", 1), ("0.0.0.0", "k", 0), ("localhost", "", 0)])
def test_a_server_that_all_may_ask_is_told(kept, monkeypatch, host, key, told):
    monkeypatch.setattr(server_module, "run", lambda *_: None)
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", lambda: None)
    said = []
    osk.serve(kept, place=Place(host, 0, key), say=said.append)
    assert len(said) == told and all("whoever reaches this address may ask" in one for one in said)


def test_what_the_processes_cannot_do_is_told(kept, tmp_path):
    words = [sys.executable, "-m", "outskirts", "serve", str(kept), "--port", "0", "--device", "tpu"]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ended.returncode == 2 and "There is no device 'tpu'" in ended.stderr and "Traceback" not in ended.stderr
