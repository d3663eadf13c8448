"""The images in the body of a request: a form with files, one picture as it is, or JSON with base64."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from http import HTTPStatus
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header
from starlette.requests import ClientDisconnect

from .options import Limits
from .problems import Problem
from .uploads import Upload

__all__ = ["body_of", "decoded", "json_of", "require_few", "uploads_of"]

#: What may stand before base64, where a browser made it.
_DATA = re.compile(r"data:[\w.+/-]+;base64,")
#: Letters of a name that are kept.
_NAME = 255
_DEPTH = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


async def body_of(request: Request, until: float) -> bytes:
    """The whole body of a request.

    Arguments:
        request: The request.
        until: When it must be there, by the clock of `time.monotonic`.

    Raises:
        Problem: If it is not, or ends before it is whole.
    """
    try:
        async with asyncio.timeout(until - time.monotonic()):
            return await request.body()
    except ClientDisconnect as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body ends before it is whole.") from error
    except TimeoutError as error:
        raise Problem(HTTPStatus.REQUEST_TIMEOUT, "The body of the request came too slowly; send it again.") from error


def uploads_of(kind: str, body: bytes, limits: Limits) -> list[Upload]:
    """The images of a body.

    Arguments:
        kind: What the request says that the body is (``Content-Type``).
        body: The body.
        limits: How many images there may be.

    Raises:
        Problem: If it is something else, or holds no image or too many.
    """
    name, options = parse_options_header(kind)
    name = name.lower()
    if not body:
        raise Problem(HTTPStatus.BAD_REQUEST, "The request is empty; send a picture.")
    if name == b"multipart/form-data":
        uploads = _of_form(body, options.get(b"boundary", b""), limits)
    elif name == b"application/json":
        uploads = _of_json(json_of(body, limits), limits)
    elif name in (b"", b"application/octet-stream") or name.startswith(b"image/"):
        uploads = [Upload("image", body)]
    else:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The body is a form (multipart/form-data), a picture (image/… or application/octet-stream) or JSON.",
        )
    if not uploads:
        raise Problem(HTTPStatus.BAD_REQUEST, "The request has no image; send at least one.")
    return uploads


def json_of(body: bytes, limits: Limits) -> Any:
    """What a body of JSON says.

    Raises:
        Problem: If it is not JSON, or too deep.
    """
    depth = 0
    for mark in _DEPTH.finditer(body):
        if (first := mark.group()[:1]) != b'"':
            depth += 1 if first in b"[{" else -1
            if depth > limits.depth:
                raise Problem(
                    HTTPStatus.BAD_REQUEST, f"The JSON has more than {limits.depth} lists or objects in each other."
                )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from error


def decoded(text: Any, name: str) -> bytes:
    """The picture in a text of base64.

    Raises:
        Problem: If it is none.
    """
    if not isinstance(text, str):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} is a text of base64.")
    try:
        return base64.b64decode(_DATA.sub("", text, count=1) if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name} is not base64.") from error


def require_few(count: int, limits: Limits) -> None:
    """Raise if these are more images than a request may have."""
    if count > limits.images:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request has at most {limits.images} images; send several requests."
        )


def _of_json(content: Any, limits: Limits) -> list[Upload]:
    given = content.get("images", [content]) if isinstance(content, dict) else content
    if not isinstance(given, list):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _JSON)
    require_few(len(given), limits)
    return [_of_object(one, place) for place, one in enumerate(given)]


_JSON = 'The JSON is {"image": BASE64}, or {"images": [{"name": NAME, "image": BASE64}]}; names may be left out.'


def _of_object(one: Any, place: int) -> Upload:
    own = f"image {place}"
    if isinstance(one, str):
        return Upload(own, decoded(one, own))
    if not isinstance(one, dict) or "image" not in one or one.keys() - {"name", "image"}:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _JSON)
    name = one.get("name", own)
    if not isinstance(name, str):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _JSON)
    return Upload(_named(name, own), decoded(one["image"], own))


def _of_form(body: bytes, boundary: bytes, limits: Limits) -> list[Upload]:
    form = _Form(limits)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
    except FormParserError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, "The form is damaged.") from error
    if parser.state != MultipartState.END:
        raise Problem(HTTPStatus.BAD_REQUEST, "The form ends before its last part does.")
    return form.uploads


class _Form:
    """The files of a form; what is no file is an error, as nothing reads it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.uploads: list[Upload] = []
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []

    def callbacks(self) -> dict[str, Any]:
        names = (
            "part_begin",
            "header_field",
            "header_value",
            "header_end",
            "headers_finished",
            "part_data",
            "part_end",
        )
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        require_few(len(self.uploads) + 1, self.limits)
        self._headers, self._parts = {}, []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def headers_finished(self) -> None:
        _, self._options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" not in self._options:
            field = self._options.get(b"name", b"").decode("utf-8", "replace")[:_NAME]
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"The form has the field '{field}', which is no file; leave it out."
            )

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._parts.append(data[start:end])

    def part_end(self) -> None:
        own = f"image {len(self.uploads)}"
        name = self._options[b"filename"].decode("utf-8", "replace")
        self.uploads.append(Upload(_named(name, own), b"".join(self._parts)))


def _named(name: str, own: str) -> str:
    """A name as a request gives it, without the folders that some programs send along."""
    return re.split(r"[/\\]", name)[-1][:_NAME] or own
