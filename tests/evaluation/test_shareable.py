import getpass
import socket

import pytest

from outskirts.evaluation.results import Result
from outskirts.evaluation.shareable import Shareable
from outskirts.reporting.seeds import Spread


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    monkeypatch.setattr(socket, "gethostname", lambda: "falcon7.lab.example")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("folder:/data/sets/photos?part=0-50%", "folder:…/photos?part=0-50%"),
        ("csv:/a/b.csv@/home/carl", "csv:…/b.csv@…"),
        ("12 images, such as /tmp/x/1.png.", "12 images, such as …/1.png."),
        ("train ce --data '/home/x/my photos/train' --out=/srv/b", "train ce --data '…/train' --out=…/b"),
        ("In ~/sets/photos and ~carl/photos", "In …/photos and …/photos"),
        ("In file:///srv/page.html, C:\\Users\\carl\\x and D:/x/y", "In …/page.html, …/x and …/y"),
        ("//server/share/x", "…/x"),
        ("anna trained this on falcon7, or on falcon7.lab.example.", "USER trained this on HOST, or on HOST."),
        ("runs/anna/ce", "runs/USER/ce"),
    ],
)
def test_what_identifies_somebody_is_left_out(text, shown):
    assert Shareable().value(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://arxiv.org/abs/2105.01879",
        "runs/ce-s0 and ./x and ../y/z",
        "ID and/or OOD, 45.0 / 35.0, 3 km/h, 5 +/-1",
        "annas bananas, --anna-option",
        "</b> x </p>",
        "method: ce",
    ],
)
def test_all_else_stays(text):
    assert Shareable().value(text) == text


def test_folders_with_spaces_are_known_from_where_they_stand_alone():
    command = "outskirts train ce --data /srv/a --out /home/carl/x"
    shareable = Shareable({"data": "folder:/srv/my photos/train?limit=3"}, command)
    assert shareable.text(command) == "outskirts train ce --data …/a --out …/x"
    assert shareable.text("The images of /srv/my photos/train were few, says carl.") == (
        "The images of …/train were few, says USER."
    )


def test_values_keep_their_kinds():
    row = Result("r", "ce", 0, "knn", '{"x": "/a/b c"}', "far", "/srv/photos", *[0.5] * 20)
    shown = Shareable().value({"/a/b": [1, None, ("/c/d",), Spread(1.0, 0.0, 2)], "row": row})
    assert shown["…/b"] == [1, None, ("…/d",), Spread(1.0, 0.0, 2)]
    assert (shown["row"].dataset, shown["row"].params, shown["row"].auroc) == ("…/photos", '{"x": "…/b c"}', 0.5)


@pytest.mark.parametrize("common", ["root", "test", "ci"])
def test_common_words_name_nobody(monkeypatch, common):
    monkeypatch.setattr(getpass, "getuser", lambda: common)
    assert Shareable().text(f"all {common} images") == f"all {common} images"
