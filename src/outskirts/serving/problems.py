"""What is wrong with a request, as an answer: one sentence in a document that programs read, too.

References:
    | RFC 9457: Problem Details for HTTP APIs (2023)
    | https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

__all__ = ["PROBLEM", "Problem", "answer_with_problems", "document"]

#: Type of the content of such an answer.
PROBLEM = "application/problem+json"


class Problem(Exception):
    """A request that gets no other answer than this.

    Arguments:
        status: Status of the answer.
        detail: What is wrong and what would be right, in one sentence.
        headers: Headers of the answer.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def document(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(content, status, dict(headers or {}), PROBLEM)


def answer_with_problems(app: FastAPI) -> None:
    """Let an application answer all that is wrong in this way, without a path, a version or a trace in it."""

    @app.exception_handler(Problem)
    async def known(_: Request, error: Problem) -> JSONResponse:
        return document(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        said = {
            HTTPStatus.NOT_FOUND: "There is nothing at this address; /openapi.json lists what there is.",
            HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not what this address takes; see /openapi.json.",
        }
        return document(error.status_code, said.get(HTTPStatus(error.status_code), str(error.detail)), error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_arguments(_: Request, error: RequestValidationError) -> JSONResponse:
        return document(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(map(_clause, error.errors())) + ".")

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> JSONResponse:
        return document(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; its log says why.")


def _clause(error: Mapping[str, Any]) -> str:
    place = " ".join(str(part) for part in error["loc"] if part not in ("query", "path", "body"))
    return f"{place}: {error['msg']}" if place else str(error["msg"])
