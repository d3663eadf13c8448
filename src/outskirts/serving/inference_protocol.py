"""The addresses of the Open Inference Protocol, by which programs ask servers of any kind of model.

References:
    | Open Inference Protocol, version 2 (Open Inference Protocol working group, 2023)
    | https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from math import prod
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from ..__about__ import __version__
from ..guard.records import Record
from .bodies import body_of, decoded, json_of, require_few
from .options import Limits
from .problems import Problem
from .service import Service
from .uploads import Upload

__all__ = ["protocol_routes"]

#: Types of the outputs, by their names.
_OUTPUTS = {"label": "BYTES", "confidence": "FP64", "score": "FP64", "p_value": "FP64", "accepted": "BOOL"}


def protocol_routes(service: Service) -> APIRouter:
    """The addresses."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @routes.get("", summary="The server")
    async def server() -> dict[str, Any]:
        return {"name": "outskirts", "version": __version__, "extensions": []}

    @routes.get("/health/live", summary="Whether the server runs")
    async def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/health/ready", summary="Whether all models can be asked")
    async def ready(response: Response) -> dict[str, Any]:
        if not service.ready:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return {"ready": service.ready}

    @routes.get("/models/{name}", summary="A model, which is a guard")
    async def model(name: str) -> dict[str, Any]:
        served = service.guard(name)
        return {
            "name": served.name,
            "versions": [served.version],
            "platform": "outskirts",
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [-1]},
                {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            ],
            "outputs": [{"name": key, "datatype": kind, "shape": [-1]} for key, kind in _OUTPUTS.items()],
        }

    @routes.get("/models/{name}/ready", summary="Whether a model can be asked")
    async def model_ready(name: str, response: Response) -> dict[str, Any]:
        service.guard(name)
        return {"name": name, **(await ready(response))}

    @routes.post("/models/{name}/infer", summary="Verdicts on images")
    async def infer(name: str, request: Request) -> dict[str, Any]:
        served, until = service.guard(name), service.limits.until()
        service.waiting.coming(1)
        try:
            content = json_of(await body_of(request, until), service.limits)
            asked, uploads = _read(content, service.limits)
        finally:
            service.waiting.coming(-1)
        rows, version = await service.rows(served, uploads, until)
        if unread := [row["error"] for row in rows if "accepted" not in row]:
            # Its outputs have no place for an image without a verdict.
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, unread[0])
        answer = _answer(served.name, version, rows, asked)
        return answer | ({"id": content["id"]} if "id" in content else {})

    return routes


def _read(content: Any, limits: Limits) -> tuple[list[str], list[Upload]]:
    """The names of the outputs that are asked for, and the images."""
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _wrong("The body is an object with one tensor in 'inputs': 'image' or 'pixels'.")
    if not isinstance(content.get("id", ""), str):
        raise _wrong("The id is a text.")
    asked = content.get("outputs", [{"name": name} for name in _OUTPUTS])
    if not isinstance(asked, list) or not all(isinstance(one, dict) and one.get("name") in _OUTPUTS for one in asked):
        raise _wrong(f"The outputs are among {', '.join(_OUTPUTS)}.")
    return [one["name"] for one in asked], _images(inputs[0], limits)


def _images(tensor: dict[str, Any], limits: Limits) -> list[Upload]:
    name, kind, shape, data = (tensor.get(key) for key in ("name", "datatype", "shape", "data"))
    sound = isinstance(shape, list) and shape and all(type(size) is int and size > 0 for size in shape)
    if not sound or not isinstance(shape, list) or not isinstance(data, list):
        raise _wrong("A tensor has a shape of whole numbers above 0, and data in a list.")
    require_few(shape[0], limits)
    if (name, kind, len(shape)) == ("image", "BYTES", 1):
        if len(data) != shape[0]:
            raise _wrong(f"The shape {shape} does not fit {len(data)} images.")
        return [Upload(f"image {place}", decoded(one, f"image {place}")) for place, one in enumerate(data)]
    if (name, kind, len(shape), shape[-1]) == ("pixels", "UINT8", 4, 3):
        return [Upload(f"image {place}", pixels) for place, pixels in enumerate(_pixels(data, shape))]
    raise _wrong("The tensor is 'image', BYTES [images] in base64, or 'pixels', UINT8 [images, height, width, 3].")


def _pixels(data: list[Any], shape: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise _wrong("The data of pixels is a list of numbers, or lists of one length in each other.") from error
    if values.dtype.kind not in "iu" or values.size != prod(shape) or values.min() < 0 or values.max() > 255:
        raise _wrong(f"The data of pixels is {prod(shape):,} whole numbers from 0 to 255, as the shape {shape} says.")
    return values.astype(np.uint8).reshape(shape)


def _answer(name: str, version: str, rows: Sequence[Record], asked: Sequence[str]) -> dict[str, Any]:
    outputs = [
        {"name": one, "datatype": _OUTPUTS[one], "shape": [len(rows)], "data": [row[one] for row in rows]}
        for one in asked
    ]
    return {"model_name": name, "model_version": version, "outputs": outputs}


def _wrong(sentence: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence)
