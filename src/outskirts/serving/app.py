"""The HTTP application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from ..__about__ import __version__
from ..reporting.environment import environment
from .bodies import body_of, uploads_of
from .gate import Gate
from .inference_protocol import protocol_routes
from .metrics import Measured
from .problems import PROBLEM, Problem, answer_with_problems
from .service import Service

__all__ = ["make_app"]

_PAGE = Path(__file__).with_name("page")
#: Addresses that need no key: what watches a server has none, and the page asks for it.
_FREE = ("/", "/page.js", "/page.css", "/docs", "/openapi.json", "/health", "/v2/health/live", "/v2/health/ready")
#: A page may use what this server gives, and nothing else.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"

_IMAGES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["image"],
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "name": {"type": "string"},
                                    "image": {"type": "string", "contentEncoding": "base64"},
                                },
                                "required": ["image"],
                            },
                        }
                    },
                    "required": ["images"],
                }
            },
        },
    }
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {PROBLEM: {}}}
    for code, text in {
        400: "The body is damaged or empty",
        401: "A key is needed",
        404: "There is no such guard",
        408: "The body came too slowly",
        413: "The body is too large, or has too many images",
        415: "The body is of another type",
        422: "No image could be read, or an argument is wrong",
        429: "Too many images are waiting",
        503: "The verdicts took too long",
    }.items()
}


def make_app(service: Service, key: str = "", origins: tuple[str, ...] = ()) -> FastAPI:
    """The application of a service.

    Arguments:
        service: What computes.
        key: What requests must show; nothing unless given.
        origins: Other sites whose pages may ask.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service.look()), asyncio.create_task(service.keep())]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    app = FastAPI(title="outskirts", version=__version__, lifespan=running, docs_url=None, redoc_url=None)
    answer_with_problems(app)
    app.include_router(protocol_routes(service))
    _add_pages(app)
    _add_answers(app, service)
    app.add_middleware(Gate, limits=service.limits, key=key, free=_FREE, ending=service.ending)
    app.add_middleware(Measured, metrics=service.metrics)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/predict", openapi_extra=_IMAGES, responses=_PROBLEMS, summary="Verdicts on images")
    async def predict(
        request: Request,
        guard: Annotated[str | None, Query(description="Name of the guard; the first unless given")] = None,
        top: Annotated[int, Query(ge=1, description="How many of the most probable classes are given")] = 1,
        near: Annotated[int, Query(ge=0, le=20, description="How many of the nearest training images are given")] = 0,
    ) -> dict[str, Any]:
        served, until = service.guard(guard), service.limits.until()
        service.waiting.coming(1)
        try:
            body = await body_of(request, until)
            uploads = uploads_of(request.headers.get("content-type", ""), body, service.limits)
        finally:
            service.waiting.coming(-1)
        rows, version = await service.rows(served, uploads, until, top, near)
        unread = [row["error"] for row in rows if "accepted" not in row]
        if len(unread) == len(rows):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, unread[0])
        return {"guard": served.name, "version": version, "verdicts": rows}

    @app.get("/health", summary="Whether verdicts can be computed")
    async def health(response: Response) -> dict[str, Any]:
        if not service.ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return {"status": "ready" if service.ready else "not ready", "workers": service.workers.alive}

    @app.get("/info", summary="What the guards say of themselves")
    async def info() -> dict[str, Any]:
        near = service.workers.options.train is not None
        guards = [{**served.to_json(), "near": near} for served in service.guards.values()]
        return {"version": __version__, "guards": guards}

    @app.get("/drift", summary="Whether more images are rejected than promised")
    async def drift() -> dict[str, Any]:
        return {"guards": [served.drift() for served in service.guards.values()]}

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_pages(app: FastAPI) -> None:
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        # That of FastAPI loads its parts from another server.
        template = environment(__package__).get_template("docs.html.j2")
        return HTMLResponse(template.render(described=app.openapi()), headers=headers)

    for address, file in {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}.items():

        @app.get(address, include_in_schema=False)
        async def page(file: str = file) -> FileResponse:
            return FileResponse(_PAGE / file, headers=headers)
