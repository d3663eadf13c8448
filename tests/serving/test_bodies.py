import base64
import json

import pytest

from outskirts.serving.bodies import json_of, uploads_of
from outskirts.serving.options import Limits
from outskirts.serving.problems import Problem

LIMITS = Limits(body=1000, images=3, depth=4)


def form(*parts, boundary="b", end="--\r\n"):
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; {about}\r\n\r\n'.encode() + content + b"\r\n"
        for about, content in parts
    )
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}{end}".encode()


def test_files_of_a_form():
    kind, body = form(
        ('filename="a.png"', b"one\r\n--x"), ('filename="C:\\\\tmp\\\\b.png"', b""), ('filename=""', b"3")
    )
    assert [(one.name, one.content) for one in uploads_of(kind, body, LIMITS)] == [
        ("a.png", b"one\r\n--x"),
        ("b.png", b""),
        ("image 2", b"3"),
    ]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "", "IMAGE/JPEG; q=1"])
def test_a_picture_as_it_is(kind):
    assert [one.content for one in uploads_of(kind, b"\x89PNG", LIMITS)] == [b"\x89PNG"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"image": "YQ=="}, ["image 0"]),
        (
            {"images": ["YQ==", {"image": "YQ=="}, {"image": "YQ==", "name": "/x/c.png"}]},
            ["image 0", "image 1", "c.png"],
        ),
        ([{"image": "data:image/png;base64,YQ=="}], ["image 0"]),
    ],
)
def test_json_with_base64(content, names):
    uploads = uploads_of("application/json", json.dumps(content).encode(), LIMITS)
    assert [one.name for one in uploads] == names and {one.content for one in uploads} == {b"a"}


@pytest.mark.parametrize(
    ("kind", "body", "status", "told"),
    [
        ("image/png", b"", 400, "is empty"),
        ("text/plain", b"a", 415, "is a form"),
        ("multipart/form-data", b"a", 400, "form is damaged"),
        ("multipart/form-data; boundary=b", b"garbage", 400, "form is damaged"),
        (*form(('filename="a"', b"one"), end=""), 400, "ends before"),
        (*form(), 400, "no image|form is damaged"),
        (*form(("x=1", b"one")), 422, "the field 'image', which is no file"),
        (*form(*[('filename="a"', b"one")] * 4), 413, "at most 3 images"),
        ("application/json", b"{", 400, "not JSON"),
        ("application/json", b"[" * 1000, 400, "more than 4"),
        ("application/json", b'{"image": 3}', 422, "image 0 is a text of base64"),
        ("application/json", b'{"image": "!"}', 422, "image 0 is not base64"),
        ("application/json", b'{"image": "YQ==", "nmae": "a"}', 422, "The JSON is"),
        ("application/json", b'{"images": "YQ=="}', 422, "The JSON is"),
        ("application/json", b'{"images": []}', 400, "no image"),
        ("application/json", json.dumps({"images": ["YQ=="] * 4}).encode(), 413, "at most 3 images"),
        ("application/json", b"3", 422, "The JSON is"),
    ],
)
def test_other_bodies_are_told(kind, body, status, told):
    with pytest.raises(Problem, match=told) as problem:
        uploads_of(kind, body, LIMITS)
    assert problem.value.status == status


def test_brackets_in_texts_are_not_deep():
    text = '[[[[[\\"[[[['
    assert json_of(f'{{"a": "{text}"}}'.encode(), LIMITS) == {"a": text.replace("\\", "")}


def test_a_large_text_of_base64_is_read():
    content = base64.b64encode(bytes(10**6)).decode()
    assert len(uploads_of("application/json", json.dumps({"image": content}).encode(), LIMITS)[0].content) == 10**6
