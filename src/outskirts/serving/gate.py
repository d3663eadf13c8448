"""What is asked of a request before anything reads its body: a key, and a size."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from http import HTTPStatus
from threading import Event

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .options import Limits
from .problems import Problem, document

__all__ = ["Gate"]


class Gate:
    """An application behind a gate.

    Arguments:
        app: The application.
        limits: What a request may be.
        key: What requests show, in the header ``X-API-Key`` or as ``Authorization: Bearer KEY``; empty: nothing.
        free: Addresses that need no key.
        ending: Set when the server ends; then each answer is the last of its connection.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, key: str = "", free: Collection[str] = (), ending: Event | None = None
    ) -> None:
        self.app, self.limits, self.key, self.free = app, limits, key.encode(), free
        self.ending = ending or Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and self.ending.is_set():
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        if self.key and scope["path"] not in self.free and not self._knows(headers):
            wrong = document(
                HTTPStatus.UNAUTHORIZED,
                "A key is needed here: send it as 'X-API-Key: KEY' or 'Authorization: Bearer KEY'.",
                {"WWW-Authenticate": "Bearer"},
            )
            await wrong(scope, receive, answered)
            return
        if (length := headers.get("content-length", "")).isdigit() and int(length) > self.limits.body:
            await document(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large().detail)(scope, receive, answered)
            return
        taken = 0

        async def counted() -> Message:
            # A body that comes in chunks does not say its length beforehand.
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limits.body:
                raise self._too_large()
            return message

        await self.app(scope, counted, answered)

    def _knows(self, headers: Headers) -> bool:
        bearer = headers.get("authorization", "")
        shown = headers.get("x-api-key", "") or bearer.removeprefix("Bearer ") * bearer.startswith("Bearer ")
        # In constant time, so that a wrong key tells nothing of the right one.
        return hmac.compare_digest(shown.encode(), self.key)

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body of a request has at most {self.limits.body:,} bytes; send fewer or smaller pictures.",
        )
