"""Against a server that breaks off, sends wrong bytes, half files, or all of them again."""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from outskirts.data.download import Remote, download, etag_of
from outskirts.errors import OutskirtsError

CONTENT = bytes(range(256)) * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves `CONTENT` under names that say what goes wrong."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.sent, self.versions = 0, [CONTENT]
        self.conditions: list[str | None] = []
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
        if kind.startswith("tagged"):
            self.serve_tagged(to, start)
            return
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

    def serve_tagged(self, to: BaseHTTPRequestHandler, start: int) -> None:
        """A file with an ETag, which breaks off at first, and may change between two answers."""
        body, etag, first = self.versions[min(self.sent, len(self.versions) - 1)], "", self.sent == 0
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        self.conditions.append(to.headers.get("If-Range"))
        kept = to.path == "/tagged-careless" or to.headers.get("If-Range") == etag
        start = start if kept else 0
        self.sent += 1
        to.send_response(206 if start else 200)
        to.send_header("Content-Length", str(len(body) - start))
        if to.path != "/tagged-not":
            to.send_header("ETag", etag)
        to.end_headers()
        to.wfile.write(body[start : start + 300_000] if first else body[start:])
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


OTHER = bytes(reversed(CONTENT))


def test_what_has_no_hash_is_continued_by_its_etag(server, get):
    path = get("tagged", sha256=None)
    etag = f'"{MD5}"'
    assert path.read_bytes() == CONTENT and etag_of(path) == etag
    assert server.asked == [("/tagged", ""), ("/tagged", "bytes=300000-")] and server.conditions == [None, etag]


@pytest.mark.parametrize("name", ["tagged", "tagged-careless"])
def test_a_file_that_changed_meanwhile_begins_again(server, get, name):
    server.versions = [CONTENT, OTHER]
    path = get(name, sha256=None)
    assert path.read_bytes() == OTHER and etag_of(path) == f'"{hashlib.md5(OTHER).hexdigest()}"'


def test_a_file_that_changes_all_the_time_is_told(server, get):
    server.versions = [bytes([i]) * 1_000_000 for i in range(20)]

    with pytest.raises(OutskirtsError, match="the file changed while it was fetched"):
        # Each answer after the first is of another file, and breaks off.
        server.serve_tagged = lambda to, start: _ever_changing(server, to, start)
        get("tagged", sha256=None)


def _ever_changing(server, to, start):
    body = server.versions[server.sent]
    server.sent += 1
    to.send_response(206 if start else 200)
    to.send_header("Content-Length", str(len(body) - start))
    to.send_header("ETag", f'"{server.sent}"')
    to.end_headers()
    to.wfile.write(body[start : start + 300_000])
    to.close_connection = True


def test_without_hash_and_etag_it_begins_again(server, get):
    assert get("tagged-not", sha256=None).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["", ""]


def test_what_was_left_of_another_file_is_not_continued_without_a_hash(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.bin.part").write_bytes(b"another" * 10)
    assert get("whole", sha256=None).read_bytes() == CONTENT and server.asked == [("/whole", "")]


def test_no_trace_of_an_etag_is_left_of_what_a_hash_vouches_for(server, get):
    path = get("tagged")
    assert path.read_bytes() == CONTENT and [file.name for file in path.parent.iterdir()] == ["set.bin"]


def test_more_than_was_published_is_not_waited_for(get, tmp_path):
    with pytest.raises(OutskirtsError, match=r"bytes instead of 1,000"):
        get("whole", sha256="", size=1000)
    assert list((tmp_path / "data").iterdir()) == []
