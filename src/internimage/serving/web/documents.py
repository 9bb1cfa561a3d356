"""What ``/openapi.json`` says beside the types of parameters."""

from __future__ import annotations

from typing import Any

DESCRIPTION = """Classifiers, detectors, segmenters and other models of pictures.

`POST /predict` takes a picture and answers in JSON, in COCO's format or with a drawn picture; `/v2/...` is the Open
Inference Protocol (KServe v2). `GET /metrics` is for Prometheus."""

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_JSON = {
    "schema": {
        "type": "object",
        "required": ["images"],
        "properties": {
            "images": {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"type": "string", "description": "base64, or a data URL"},
                        {
                            "type": "object",
                            "properties": {
                                "base64": {"type": "string"},
                                "url": {"type": "string", "description": "of a host that the server may ask"},
                                "name": {"type": "string"},
                            },
                        },
                    ]
                },
            }
        },
    },
    "example": {"images": [{"base64": "/9j/4AAQSkZJRg...", "name": "street.jpg"}]},
}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}

PREDICT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _PICTURE,
            "application/octet-stream": _PICTURE,
            "multipart/form-data": _FORM,
            "application/json": _JSON,
        },
    }
}

_DETECTOR = {
    "model": "cells",
    "results": [
        {
            "image": "street.jpg",
            "height": 480,
            "width": 640,
            "objects": [{"label": "car", "index": 2, "score": 0.93, "box": [12.5, 40.0, 200.25, 160.0]}],
        }
    ],
}
_CLASSIFIER = {
    "model": "clothing",
    "results": [{"image": "image 1", "predictions": [{"index": 9, "label": "t-shirt", "score": 0.97}]}],
}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"content": {"application/json": {"example": {"error": {"code": code, "message": message}}}}}


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A result for each picture, in order; of several, one that cannot be read has an error instead.",
        "content": {
            "application/json": {
                "examples": {"detector": {"value": _DETECTOR}, "classifier": {"value": _CLASSIFIER}},
            },
            "image/png": _PICTURE,
        },
    },
    400: {"description": "The request is not understood.", **_error("bad_option", "top is no option; there are ...")},
    401: {"description": "The token is missing.", **_error("no_token", "this server wants its token ...")},
    404: {"description": "There is no such model.", **_error("unknown_model", "no model is called 'cat' ...")},
    408: {"description": "The request came too slowly.", **_error("slow_body", "the request had not arrived ...")},
    413: {"description": "The request is too large.", **_error("too_large", "the request is larger than 25 MB ...")},
    422: {"description": "The picture cannot be read.", **_error("picture_failed", "image 1: not an image ...")},
    503: {
        "description": "As many pictures wait as may, or the model is being loaded; see Retry-After.",
        **_error("busy", "as many pictures wait as may ..."),
    },
    504: {"description": "It took too long.", **_error("too_slow", "no answer after 60 s ...")},
}
