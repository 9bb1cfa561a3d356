"""The server's addresses."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from internimage.errors import RequestError
from internimage.serving.answers import joined_coco
from internimage.serving.log import write
from internimage.serving.messages import Answer, Done, Failed
from internimage.serving.metrics import Metrics
from internimage.serving.pool import Pool
from internimage.serving.web import documents, kserve, page
from internimage.serving.web.service import Service, error_of, shown_options
from internimage.writing import json_text

_OPTIONS = {"model", "format", "topk", "score_threshold"}


def create_app(pool: Pool, metrics: Metrics) -> FastAPI:
    """The application around a pool of workers, which runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.start()
        yield
        await pool.stop()

    app = FastAPI(
        title="internimage",
        version=version("internimage"),
        description=documents.DESCRIPTION,
        docs_url=None,  # both load their scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    service = Service(pool, metrics)
    guard = [Depends(_token_of(pool.settings.token))]
    app.include_router(_predicting(service), dependencies=guard)
    app.include_router(kserve.health(pool))
    app.include_router(kserve.router(service), dependencies=guard)
    if pool.settings.page:
        app.include_router(page.router())
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such)
    if pool.settings.log != "quiet":
        app.add_middleware(_Logged, names=pool.settings.log == "names")
    return app


def _token_of(token: str | None) -> Callable[..., None]:
    """What refuses requests without the token."""

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        if token is None:
            return
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise RequestError(
                401,
                "no_token",
                "this server wants its token, as the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    def open_to_all() -> None:
        return

    return open_to_all if token is None else check


def _predicting(service: Service) -> APIRouter:
    router, pool = APIRouter(), service.pool

    @router.post("/predict", openapi_extra=documents.PREDICT, responses=documents.ANSWERS)
    async def predict(
        request: Request,
        model: Annotated[str | None, Query(description="the first one unless given")] = None,
        format: Annotated[Literal["json", "coco", "png", "classes"], Query(description="what is answered")] = "json",
        topk: Annotated[int | None, Query(description="classifiers: classes a picture, 5 unless given")] = None,
        score_threshold: Annotated[
            float | None, Query(description="detectors: least score of an object, 0.3 unless given")
        ] = None,
    ) -> Response:
        """What a model sees in pictures."""
        if unknown := sorted(set(request.query_params) - _OPTIONS):
            raise RequestError(400, "bad_option", f"{unknown[0]} is no option; there are {', '.join(sorted(_OPTIONS))}")
        if len(request.query_params.multi_items()) > len(request.query_params):
            raise RequestError(400, "bad_option", "an option is there twice; expected each once")
        facts = pool.model(model)
        if format not in facts.answers:
            raise RequestError(400, "bad_option", f"a {facts.noun} answers in {', '.join(facts.answers)}, not {format}")
        shown = shown_options(facts, topk, score_threshold)

        async def work() -> Response:
            pictures = await service.intake.pictures(request)
            answers = await service.predict(request, facts, pictures, format, shown)
            return _response(facts.name, format, answers, [name for name, _ in pictures])

        return await service.answer(request, facts.name, work)

    @router.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        service.metrics.queue.set(len(pool.waiting))
        service.metrics.workers.set(len(pool.workers))
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return router


def _response(model: str, kind: Answer, answers: list[Done | Failed], names: list[str]) -> Response:
    """Answers as one; what failed is among several, and is the answer where nothing else is."""
    good = [one.content for one in answers if isinstance(one, Done)]
    bad = [one for one in answers if isinstance(one, Failed)]
    if bad and (not good or kind != "json"):
        raise error_of(bad[0])
    if kind == "json":
        rows = [
            one.content if isinstance(one, Done) else json_text(_failed(one, name)).encode()
            for one, name in zip(answers, names, strict=True)
        ]
        head = json_text({"model": model})[:-1].encode()
        return Response(b'%b, "results": [%b]}' % (head, b", ".join(rows)), media_type="application/json")
    if kind == "coco":
        return Response(joined_coco(good), media_type="application/json")
    if len(good) > 1:
        raise RequestError(400, "bad_option", f"{len(good)} pictures are not drawn in one answer; send them one by one")
    return Response(good[0], media_type="image/png")


def _failed(failed: Failed, name: str) -> dict[str, Any]:
    refusal = error_of(failed)
    return {"image": name, "error": {"code": refusal.code, "message": str(refusal)}}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    content: dict[str, Any] = {"error": {"code": error.code, "message": str(error)}}
    if request.url.path.startswith("/v2"):  # whose clients expect text
        content = {"error": str(error), "code": error.code}
    return JSONResponse(content, error.status, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return await _refused(request, RequestError(400, "bad_option", f"{first['loc'][-1]}: {first['msg']}"))


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; GET /openapi.json lists what there is"
    return await _refused(
        request, RequestError(error.status_code, "no_such_address", message, dict(error.headers or {}))
    )


class _Logged:
    """A line a request on stderr; what pictures are called stays out unless asked for."""

    def __init__(self, app: ASGIApp, names: bool) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 0

        async def seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            told = scope.get("state", {}).get("names", []) if self.names else []
            line = f"{scope['method']} {quote(scope['path'])} {status} {1000 * (time.monotonic() - start):.0f} ms"
            write(" ".join([line, *map(repr, told)]))
