"""Against a server that breaks off, sends wrong bytes, half files, or all of them again."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from outskirts.data.download import Remote, download, unpack
from outskirts.errors import OutskirtsError

CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves `CONTENT` under names that say what goes wrong."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                outer.asked.append((self.path, wanted))
                outer.serve(self, int(wanted[6:-1]) if wanted else 0)

            def log_message(self, *given: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def serve(self, to: BaseHTTPRequestHandler, start: int) -> None:
        kind = to.path[1:]
        if kind == "missing":
            to.send_error(404)
            return
        if kind == "deaf":
            start = 0  # It knows nothing of ranges.
        body = bytes(len(CONTENT)) if kind == "wrong" else CONTENT[: len(CONTENT) // 2] if kind == "half" else CONTENT
        if start >= len(body):
            to.send_error(416)
            return
        to.send_response(206 if start else 200)
        if kind != "endless":
            to.send_header("Content-Length", str(len(body) - start))
        to.end_headers()
        sent = body[start:]
        if kind in ("dropping", "deaf") and (kind == "dropping" or len(self.asked) < 3):
            sent = sent[:300_000]
        if kind == "silent":
            sent = b""
        to.wfile.write(sent)
        to.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def get(server, tmp_path) -> Callable:
    def get(*names: str, **about: object):
        about = {"sha256": SHA, **about}
        remote = Remote("set.bin", [server.url(name) for name in names], **about)
        return download(remote, tmp_path / "data", pause=0.01)

    return get


@pytest.mark.parametrize("name", ["whole", "dropping", "deaf", "endless"])
def test_a_file_arrives_whole(server, get, name):
    seen = []
    path = get(name)
    assert path.read_bytes() == CONTENT and [file.name for file in path.parent.iterdir()] == ["set.bin"]
    if name == "dropping":
        assert [wanted for _, wanted in server.asked][:3] == ["", "bytes=300000-", "bytes=600000-"]
    asked = len(server.asked)
    assert get(name) == path and len(server.asked) == asked, "it is there"
    assert not seen


@pytest.mark.parametrize("name", ["wrong", "half", "missing", "silent"])
def test_another_mirror_takes_over(server, get, name):
    assert get(name, "whole").read_bytes() == CONTENT
    assert {path for path, _ in server.asked} == {f"/{name}", "/whole"}


def test_what_a_killed_download_left_is_used(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.bin.part").write_bytes(CONTENT[:1000])
    assert get("whole").read_bytes() == CONTENT and server.asked == [("/whole", "bytes=1000-")]
    # All of it, but for its name.
    (tmp_path / "data" / "set.bin").rename(tmp_path / "data" / "set.bin.part")
    assert get("whole").read_bytes() == CONTENT


def test_what_was_left_of_another_file_is_no_obstacle(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.bin.part").write_bytes(b"another" * 10)
    assert get("whole").read_bytes() == CONTENT


def test_no_mirror_has_it(get, tmp_path):
    with pytest.raises(
        OutskirtsError, match=r"/missing: it answered 404 Not Found. .*/wrong: its sha256 is .* instead of"
    ):
        get("missing", "wrong")
    with pytest.raises(OutskirtsError, match=r"it has 640,000 bytes instead of 1,280,000"):
        get("half", sha256="", size=len(CONTENT))
    with pytest.raises(OutskirtsError, match="its md5 is"):
        get("wrong", sha256="", md5=MD5)
    assert list((tmp_path / "data").iterdir()) == []
    assert get("whole", sha256="", md5=MD5).read_bytes() == CONTENT
    with pytest.raises(OutskirtsError, match="is not the file that was published"):
        get("whole", sha256="0" * 64)


def test_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cats/1.png", "cat")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("cats/1.png")
        entry.size = 3
        packed.addfile(entry, io.BytesIO(b"cat"))
    for name in ("a.zip", "a.tar.gz"):
        unpack(tmp_path / name, tmp_path / name.replace(".", "-"))
        assert (tmp_path / name.replace(".", "-") / "cats" / "1.png").read_text() == "cat"
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:60])
    with pytest.raises(OutskirtsError, match="damaged, or is not an archive"):
        unpack(tmp_path / "b.tar", tmp_path / "b")
    with tarfile.open(tmp_path / "c.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(OutskirtsError):
        unpack(tmp_path / "c.tar", tmp_path / "c")
    assert not (tmp_path / "outside").exists() and not (tmp_path / "b").exists() and not (tmp_path / "c").exists()
