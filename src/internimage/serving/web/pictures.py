"""The pictures of a request: its body as it is, a form's files, or base64 and addresses in JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import msgspec
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from internimage.errors import RequestError
from internimage.serving.batching import busy
from internimage.serving.settings import ServingSettings
from internimage.serving.web.fetching import fetch
from internimage.writing import readable

Named = tuple[str, bytes]

_FIELDS = 16  # of a form, beside files
_COMMAS = 64  # of a picture in JSON at most


class InJson(msgspec.Struct, forbid_unknown_fields=True):
    """A picture in JSON: one of ``base64`` (also a data URL) and ``url``, and what it is called in the answer."""

    base64: str | None = None
    url: str | None = None
    name: str | None = None


class Images(msgspec.Struct, forbid_unknown_fields=True):
    """A body of JSON."""

    images: list[InJson | str]


class Intake:
    """Reads the bodies of requests: so large, so slow and so many as the settings allow.

    Attributes:
        held: bytes of all bodies that are being read or wait.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.held = 0

    @contextmanager
    def room(self, request: Request) -> Iterator[None]:
        """Room for a body; within it the request may be worked on.

        Raises:
            RequestError: it is too large, or others take the room.
        """
        told = request.headers.get("content-length", "")
        size = int(told) if told.isdecimal() else self.settings.max_body
        if size > self.settings.max_body:
            raise self._too_large()
        if self.held + size > self.settings.memory_mb * 2**20:
            raise busy()
        self.held += size
        try:
            yield
        finally:
            self.held -= size

    async def body(self, request: Request) -> bytes:
        """A request's body.

        Raises:
            RequestError: it is too large, too slow or does not come to its end.
        """
        content = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > self.settings.max_body:
                        raise self._too_large()
        except TimeoutError as error:
            raise RequestError(
                408,
                "slow_body",
                f"the request had not arrived after {self.settings.body_seconds:g} s; send it again",
                {"Connection": "close"},
            ) from error
        except ClientDisconnect as error:
            raise gone() from error
        return bytes(content)

    def _too_large(self) -> RequestError:
        most = f"the request is larger than {self.settings.max_body_mb:g} MB"
        # The connection stays: were it closed, whoever is still sending would see that alone and not the answer.
        return RequestError(413, "too_large", f"{most}; send smaller or fewer pictures")

    async def pictures(self, request: Request) -> list[Named]:
        """The pictures of a request with their names: "image 1" and so on for those without one.

        Raises:
            RequestError: there is none, or something else.
        """
        body = await self.body(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            found = await _of_form(request, body)
        elif kind == "application/json":
            found = await self._of_json(body)
        elif kind.startswith("image/") or kind in ("application/octet-stream", "application/x-www-form-urlencoded", ""):
            found = [(None, body)]  # curl --data-binary calls all it sends a form
        else:
            raise RequestError(
                415,
                "unknown_type",
                f"the request's Content-Type is {kind}; expected image/..., application/octet-stream, "
                "multipart/form-data or application/json",
            )
        if not any(content for _, content in found):
            raise RequestError(400, "no_picture", "the request has no picture; send its bytes as the body")
        if len(found) > self.settings.queue:
            raise RequestError(
                413, "too_many", f"the request has {len(found)} pictures; expected {self.settings.queue} or fewer"
            )
        return [(readable(name or f"image {number}"), content) for number, (name, content) in enumerate(found, 1)]

    async def _of_json(self, body: bytes) -> list[tuple[str | None, bytes]]:
        if body.count(b",") > _COMMAS * (self.settings.queue + 8):  # counted, since reading them would take seconds
            raise RequestError(
                413, "too_many", f"the request has far more than {self.settings.queue} pictures; send them in several"
            )
        try:
            images = msgspec.json.decode(body, type=Images).images
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            expected = '{"images": [{"base64": "..."}]}'
            raise RequestError(
                400, "bad_json", f"the request's JSON cannot be read: {error}; expected {expected}"
            ) from error
        found: list[tuple[str | None, bytes]] = []
        left, deadline = self.settings.max_body, time.monotonic() + self.settings.body_seconds
        for number, image in enumerate(images, 1):
            image = InJson(base64=image) if isinstance(image, str) else image
            if (image.base64 is None) == (image.url is None):
                raise RequestError(400, "bad_json", f"image {number} needs one of base64 and url")
            if image.base64 is not None:
                found.append((image.name, decoded(image.base64, number)))
                continue
            assert image.url is not None
            if not self.settings.url_hosts:
                raise RequestError(
                    403, "no_urls", "this server fetches no addresses (--url-hosts names those that it may)"
                )
            content = await asyncio.to_thread(fetch, image.url, self.settings.url_hosts, left, deadline)
            left -= len(content)
            found.append((image.name or image.url, content))
        return found


def decoded(text: str, number: int) -> bytes:
    """The bytes of a picture in base64, also of a data URL.

    Raises:
        RequestError: it is none.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # lines, as mail and base64(1) break it
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "bad_base64", f"image {number} is not base64: {error}") from error


async def _of_form(request: Request, body: bytes) -> list[tuple[str | None, bytes]]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, once(), max_fields=_FIELDS)
    parser.spool_max_size = len(body) + 1  # nothing of a picture goes to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, LookupError, ValueError) as error:  # also of names in odd characters
        raise RequestError(400, "bad_form", f"the request's form cannot be read: {error}") from error
    _, options = parse_options_header(request.headers["content-type"])
    if b"--%b--" % options.get(b"boundary", b"") not in body:
        raise RequestError(400, "bad_form", "the request's form has no end: part of it is missing; send it again")
    found: list[tuple[str | None, bytes]] = []
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise RequestError(
                400, "bad_form", f"the form's field {name!r} is no file; options belong to the address: ?topk=3"
            )
        found.append((value.filename, await value.read()))
    return found


def gone() -> RequestError:
    """What nobody reads: the client has left."""
    return RequestError(499, "gone", "the client is gone")
