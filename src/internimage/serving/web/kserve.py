"""The Open Inference Protocol, also called KServe v2: health, metadata, inference, and Triton's model repository.

https://github.com/kserve/open-inference-protocol: REST, with the binary tensor data extension.  The input is one tensor
BYTES (N) of the files of pictures, base64 where it stands in JSON; the output one tensor BYTES (N) of JSON.
"""

from __future__ import annotations

import json
import math
import struct
from importlib.metadata import version
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from internimage.errors import RequestError
from internimage.serving.messages import Done, Facts, Failed
from internimage.serving.pool import Pool
from internimage.serving.web.pictures import Named, decoded
from internimage.serving.web.service import Service, error_of, shown_options
from internimage.settings.views import DisplayOptions
from internimage.writing import json_text

_HEADER = "inference-header-content-length"
_LENGTH = struct.Struct("<I")
_SIDES = 8
_PLATFORM = "internimage"
_INPUT, _OUTPUT = "picture", "result"


class Tensor(msgspec.Struct):
    """An input."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Wanted(msgspec.Struct):
    """An output."""

    name: str
    parameters: dict[str, Any] = {}


class Inference(msgspec.Struct):
    """A request."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] = []


def health(pool: Pool) -> APIRouter:
    """What needs no token: whether the server lives, and whether all its models can be asked."""
    router = APIRouter(tags=["health"])

    @router.api_route("/v2/health/live", methods=["GET", "HEAD"])
    def live() -> dict[str, bool]:
        """Whether the server answers at all."""
        return {"live": True}

    @router.api_route("/v2/health/ready", methods=["GET", "HEAD"])
    def ready() -> JSONResponse:
        """Whether every model can be asked now."""
        return JSONResponse({"ready": pool.ready}, 200 if pool.ready else 503)

    return router


def router(service: Service) -> APIRouter:
    """The rest of the protocol."""
    router = APIRouter(tags=["Open Inference Protocol"])
    _metadata(router, service.pool)
    _inference(router, service)
    _repository(router, service.pool)
    return router


def _metadata(router: APIRouter, pool: Pool) -> None:
    @router.get("/v2")
    def server() -> dict[str, Any]:
        """The server's metadata."""
        extensions = ["binary_tensor_data", "model_repository"]
        return {"name": "internimage", "version": version("internimage"), "extensions": extensions}

    @router.get("/v2/models/{name}")
    def model(name: str) -> dict[str, Any]:
        """A model's metadata; ``parameters`` has what the protocol does not know."""
        facts = pool.model(name)
        return {
            "name": name,
            "versions": ["1"],
            "platform": _PLATFORM,
            "inputs": [{"name": _INPUT, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": _OUTPUT, "datatype": "BYTES", "shape": [-1]}],
            "parameters": {
                "task": facts.task,
                "noun": facts.noun,
                "labels": facts.labels,
                "colours": facts.colours,
                "runtime": facts.runtime,
            },
        }

    @router.get("/v2/models/{name}/ready")
    def model_ready(name: str) -> JSONResponse:
        """Whether a model can be asked now."""
        there = name in pool.wanted and pool.facts(name) is not None
        return JSONResponse({"name": name, "ready": there}, 200 if there else 503)


def _inference(router: APIRouter, service: Service) -> None:
    @router.post("/v2/models/{name}/infer")
    async def infer(name: str, request: Request) -> Response:
        """Results of pictures, as JSON in a tensor of BYTES."""
        facts = service.pool.model(name)

        async def work() -> Response:
            body = await service.intake.body(request)
            asked, pictures = _read(body, request.headers.get(_HEADER))
            answers = await service.predict(request, facts, pictures, "json", _shown(facts, asked))
            if bad := next((one for one in answers if isinstance(one, Failed)), None):
                raise error_of(bad)
            return _written(facts, asked, [one.content for one in answers if isinstance(one, Done)])

        return await service.answer(request, name, work)


def _repository(router: APIRouter, pool: Pool) -> None:
    @router.post("/v2/repository/index")
    def index() -> list[dict[str, str]]:
        """The models that were named at the start, and whether they are loaded."""
        return [_state(pool, name) for name in pool.known]

    @router.post("/v2/repository/models/{name}/{act}")
    async def change(name: str, act: Literal["load", "unload"]) -> dict[str, str]:
        """Load or drop a model by name; servers without a token do neither."""
        if pool.settings.token is None:
            raise RequestError(403, "no_token", "models are loaded and dropped where there is a token: --token-file")
        await (pool.load(name) if act == "load" else pool.drop(name))
        return _state(pool, name)


def _state(pool: Pool, name: str) -> dict[str, str]:
    there = name in pool.wanted and pool.facts(name) is not None
    state = "READY" if there else "LOADING" if name in pool.wanted else "UNAVAILABLE"
    return {"name": name, "version": "1", "state": state, "reason": pool.reason(name) or ""}


def _read(body: bytes, head: str | None) -> tuple[Inference, list[Named]]:
    """A request, and the pictures in it."""
    if head is not None and not (head.isdecimal() and int(head) <= len(body)):
        raise _bad(f"{_HEADER} is {head}, of a body of {len(body)} bytes")
    cut = len(body) if head is None else int(head)
    try:
        asked = msgspec.json.decode(body[:cut], type=Inference)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad(str(error)) from error
    if len(asked.inputs) != 1 or asked.inputs[0].datatype != "BYTES":
        raise _bad("expected one input of the datatype BYTES, files of pictures")
    tensor = asked.inputs[0]
    if tensor.data is None:
        pictures = _of_binary(body[cut:], tensor.parameters.get("binary_data_size"))
    else:
        if any(not isinstance(one, str) for one in tensor.data):
            raise _bad("data of BYTES in JSON is base64 text")
        pictures = [decoded(one, number) for number, one in enumerate(tensor.data, 1)]
    if not 1 <= len(tensor.shape) <= _SIDES or math.prod(tensor.shape) != len(pictures) or not pictures:
        raise _bad(f"the shape {str(tensor.shape)[:60]} is not that of {len(pictures)} pictures")
    if min(tensor.shape) < 0:
        raise _bad(f"the shape {tensor.shape} has negative sides")
    return asked, [(f"image {number}", content) for number, content in enumerate(pictures, 1)]


def _of_binary(content: bytes, size: Any) -> list[bytes]:
    """Elements with their lengths in front."""
    if size != len(content):
        raise _bad(f"binary_data_size is {size}, and {len(content)} bytes follow")
    pictures, at = [], 0
    while at < len(content):
        if at + _LENGTH.size > len(content):
            raise _bad("the binary data end within an element")
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if at + length > len(content):
            raise _bad("the binary data end within an element")
        pictures.append(content[at : at + length])
        at += length
    return pictures


def _shown(facts: Facts, asked: Inference) -> DisplayOptions:
    given = {key: asked.parameters[key] for key in ("topk", "score_threshold") if key in asked.parameters}
    topk, score = given.get("topk"), given.get("score_threshold")
    if not isinstance(topk, int | None) or not isinstance(score, int | float | None):
        raise RequestError(400, "bad_option", "topk and score_threshold are numbers")
    return shown_options(facts, topk, score)


def _written(facts: Facts, asked: Inference, results: list[bytes]) -> Response:
    """An answer, binary where that is asked for."""
    wanted = asked.outputs[0].parameters if asked.outputs else {}
    binary = wanted.get("binary_data", asked.parameters.get("binary_data_output", False))
    output: dict[str, Any] = {"name": _OUTPUT, "datatype": "BYTES", "shape": [len(results)]}
    content = {"model_name": facts.name, "model_version": "1", "outputs": [output]}
    if asked.id is not None:
        content["id"] = asked.id
    if not binary:
        output["data"] = [one.decode() for one in results]
        return Response(json_text(content), media_type="application/json")
    data = b"".join(_LENGTH.pack(len(one)) + one for one in results)
    output["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(content).encode()
    return Response(head + data, media_type="application/octet-stream", headers={_HEADER: str(len(head))})


def _bad(why: str) -> RequestError:
    return RequestError(400, "bad_request", f"the request is not one of the Open Inference Protocol: {why}")
