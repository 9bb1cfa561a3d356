"""The queue in front of models, without processes: what is promised under overload, and what addresses are fetched."""

import asyncio
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from internimage.errors import RequestError
from internimage.serving.log import say
from internimage.serving.messages import Done, Facts, Load, Loaded, packed
from internimage.serving.metrics import Metrics
from internimage.serving.pool import Pool
from internimage.serving.process import WorkerProcess
from internimage.serving.settings import ServedModel, ServingSettings, WorkerSettings
from internimage.serving.web.app import create_app
from internimage.serving.web.fetching import fetch, is_public
from internimage.settings.views import DisplayOptions

METRICS = Metrics()
MODELS = [ServedModel("a", "a"), ServedModel("b", "b")]


def pool_of(batch: int = 1, **settings: Any) -> Pool:
    """A pool whose one worker is the test."""
    pool = Pool(MODELS, ServingSettings(log="quiet", **settings), WorkerSettings(), METRICS, lambda _: None)
    facts = {
        one.name: Facts(
            one.name, "detection", "detector", ("x",), ((0, 0, 0),), ("json",), (), ("score_threshold",), batch, ""
        )
        for one in MODELS
    }
    pool.workers[0] = SimpleNamespace(facts=facts)  # type: ignore[assignment]
    return pool


def digest(picture: bytes) -> bytes:
    return json.dumps({"digest": hashlib.sha256(picture).hexdigest()}).encode()


async def work(pool: Pool, seconds: float = 0.0, seen: list[list[int]] | None = None) -> None:
    """Answer each picture with its digest, batch by batch."""
    while True:
        some = await pool.waiting.take(lambda: {name: one.batch for name, one in pool.workers[0].facts.items()})
        if seen is not None:
            seen.append([one.job.id for one in some])
        await asyncio.sleep(seconds)
        for one in some:
            if not one.outcome.done():
                one.outcome.set_result(Done(one.job.id, digest(one.job.picture), seconds))


class Asked:
    """A request straight to the application; ``hang_up`` is the client leaving."""

    def __init__(self, app: Any, body: bytes = b"x") -> None:
        self.status, self.headers, self.body = 0, dict[str, str](), b""
        self.hang_up = asyncio.Event()
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [(b"content-length", str(len(body)).encode())],
            "state": {},
        }
        self._body: list[bytes] = [body]
        self.task = asyncio.create_task(app(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop()}
        await self.hang_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.body += message.get("body", b"")


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ("runs/cells", "cells", "runs/cells"),
        ("runs/cells/best", "cells", "runs/cells/best"),
        ("runs/cells/final/", "cells", "runs/cells/final/"),
        ("exported/cells.onnx", "cells", "exported/cells.onnx"),
        ("internimage_t_1k_224", "internimage_t_1k_224", "internimage_t_1k_224"),
        ("mine=runs/cells", "mine", "runs/cells"),
        ("runs/a=b/cells", "cells", "runs/a=b/cells"),
    ],
)
def test_models_are_called_by_what_people_call_them(text: str, name: str, place: str) -> None:
    assert ServedModel.parse(text) == ServedModel(name, place)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


def put(pool: Pool, model: str, count: int = 1) -> list[int]:
    return [one.job.id for one in pool.put(model, [("x", b"x")] * count, "json", DisplayOptions())]


def test_batches_are_of_one_model_and_in_order() -> None:
    async def test() -> None:
        pool, seen = pool_of(batch=2), list[list[int]]()
        for model in "abaab":
            put(pool, model)
        working = asyncio.create_task(work(pool, seen=seen))
        await asyncio.sleep(0.05)
        working.cancel()
        assert seen == [[1, 3], [2, 5], [4]]

    run(test)


@pytest.mark.parametrize(("count", "batches"), [(3, [[1, 2, 3]]), (4, [[1, 2, 3, 4]]), (6, [[1, 2, 3, 4], [5, 6]])])
def test_a_batch_waits_for_others_until_its_time_is_over(count: int, batches: list[list[int]]) -> None:
    """Pictures that come 5 ms after each other, in 200 ms; a full batch does not wait."""

    async def test() -> None:
        pool, seen = pool_of(batch=4, wait_ms=200), list[list[int]]()
        working = asyncio.create_task(work(pool, seen=seen))
        for _ in range(count):
            put(pool, "a")
            await asyncio.sleep(0.005)
        assert seen == batches[: count // 4]
        await asyncio.sleep(0.4)
        working.cancel()
        assert seen == batches

    run(test)


def test_under_overload_what_is_accepted_is_answered_and_the_rest_refused() -> None:
    """400 requests at once for a queue of 8: each gets its own picture's answer, or 503 and when to come back."""

    async def test() -> None:
        pool = pool_of(batch=2, queue=8)
        working = asyncio.create_task(work(pool, 0.001))
        requests, app = [], create_app(pool, METRICS)
        for number in range(400):
            requests.append(Asked(app, str(number).encode()))
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await asyncio.gather(*(one.task for one in requests))
        working.cancel()
        for number, one in enumerate(requests):
            if one.status == 200:
                assert json.loads(one.body)["results"] == [json.loads(digest(str(number).encode()))]
            else:
                assert (one.status, json.loads(one.body)["error"]["code"]) == (503, "busy")
                assert one.headers["retry-after"] == "1"
        assert 8 < sum(one.status == 200 for one in requests) < 400
        assert len(pool.waiting) == 0

    run(test)


@pytest.mark.parametrize(
    ("busy", "models", "taken"),
    [
        ((True, False), ("ab", "ab"), (set(), {"a", "b"})),
        ((False, False), ("ab", "ab"), ({"a", "b"}, {"a", "b"})),
        ((True, True), ("ab", "ab"), ({"a", "b"}, {"a", "b"})),
        ((True, False), ("ab", "b"), ({"a"}, {"b"})),  # the idle one lacks a model
    ],
)
def test_a_worker_that_is_busy_leaves_pictures_to_one_that_is_not(
    busy: tuple[bool, ...], models: tuple[str, ...], taken: tuple[set[str], ...]
) -> None:
    pool = pool_of()
    facts = pool.workers[0].facts
    for number, (pending, names) in enumerate(zip(busy, models, strict=True)):
        worker = SimpleNamespace(pending={1: None} if pending else {}, facts={name: facts[name] for name in names})
        pool.workers[number] = worker  # type: ignore[assignment]
    assert tuple(set(pool.takes(worker)) for worker in pool.workers.values()) == taken


def test_a_model_that_is_being_loaded_is_not_loaded_again() -> None:
    """Whoever asks meanwhile waits for the first."""

    async def test() -> None:
        sent: list[bytes] = []

        async def drain() -> None: ...

        facts = pool_of().workers[0].facts["a"]
        stdin = SimpleNamespace(write=sent.append, drain=drain)
        worker = WorkerProcess(0, SimpleNamespace(stdin=stdin, stdout=asyncio.StreamReader()))  # type: ignore[arg-type]
        reading = asyncio.create_task(worker.read(METRICS))
        loading = [asyncio.create_task(worker.load("a", "a")) for _ in range(3)]
        await asyncio.sleep(0)
        assert worker.process.stdout is not None
        worker.process.stdout.feed_data(packed(Loaded(facts)))
        assert await asyncio.gather(*loading) == [None] * 3
        assert sent == [packed(Load("a", "a"))]
        reading.cancel()

    asyncio.run(test())


def test_lines_that_nobody_reads_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stderr", broken)
    say("ready")
    with pytest.raises(BrokenPipeError):
        broken.close()


def test_several_pictures_wait_all_or_none() -> None:
    async def test() -> None:
        pool = pool_of(queue=4)
        put(pool, "a", 3)
        with pytest.raises(RequestError, match="as many pictures wait as may"):
            put(pool, "a", 2)
        assert len(pool.waiting) == 3

    run(test)


@pytest.mark.parametrize("leaves", [True, False], ids=["client gone", "too slow"])
def test_nobody_computes_what_nobody_waits_for(leaves: bool) -> None:
    async def test() -> None:
        pool = pool_of(seconds=60 if leaves else 0.05)
        request = Asked(create_app(pool, METRICS))
        while not pool.waiting:
            await asyncio.sleep(0.001)
        if leaves:
            request.hang_up.set()
        await request.task
        assert request.status == (499 if leaves else 504)
        assert len(pool.waiting) == 0

    run(test)


def test_bodies_that_would_fill_the_memory_are_refused() -> None:
    """Two of 1 MB fit in 2 MB; the third is told so, until one of them was answered."""

    async def test() -> None:
        pool = pool_of(max_body_mb=1, memory_mb=2)
        megabyte, app = bytes(2**20), create_app(pool, METRICS)
        first, second = (Asked(app, megabyte) for _ in range(2))
        while len(pool.waiting) < 2:
            await asyncio.sleep(0.001)
        third = Asked(app, megabyte)
        await third.task
        assert (third.status, json.loads(third.body)["error"]["code"]) == (503, "busy")
        working = asyncio.create_task(work(pool))
        await asyncio.gather(first.task, second.task)
        fourth = Asked(app, megabyte)
        await fourth.task
        assert [one.status for one in (first, second, fourth)] == [200] * 3
        working.cancel()

    run(test)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        *((inside, False) for inside in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")),
        *((inside, False) for inside in ("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1")),
        *((inside, False) for inside in ("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1")),
        *((inside, False) for inside in ("64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::", "::ffff:127.0.0.1")),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A server of pictures, and of ways to other places; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = self.path.removeprefix("/to=")
            if where != self.path:
                self.send_response(302)
                self.send_header("Location", where)
                self.end_headers()
            elif self.path == "/none":
                self.send_error(404)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("url", "hosts", "found"),
    [
        ("http://localhost:{port}/a.jpg?b=1#c", ["localhost"], b"/a.jpg?b=1"),
        ("http://localhost:{port}/a", ["localhost:{port}"], b"/a"),
        ("http://localhost:{port}/to=/b", ["localhost"], b"/b"),
        ("http://localhost:{port}/a", ["*"], "addresses of localhost are not fetched"),
        ("http://localhost/a", ["*"], "addresses of localhost are not fetched"),
        ("http://127.0.0.1/a", ["*"], "addresses of 127.0.0.1 are not fetched"),
        ("http://2130706433/a", ["*"], "addresses of 2130706433 are not fetched"),
        ("http://localhost:{port}/to=http://127.0.0.1:{port}/b", ["localhost"], "addresses of 127.0.0.1 are not"),
        ("http://localhost:{port}/to=file:///etc/passwd", ["localhost"], "expected http or https"),
        ("http://user:word@localhost:{port}/", ["localhost"], "expected http or https"),
        ("file:///etc/passwd", ["*"], "expected http or https"),
        ("http://localhost:{port}/none", ["localhost"], "the server says 404"),
        ("http://localhost:{port}/to=/to=/to=/to=/to=/x", ["localhost"], "sent on more than 3 times"),
        ("http://localhost:{port}/" + "long" * 300, ["localhost"], "larger than a request may be"),
        ("http://localhost:99999/", ["localhost"], "cannot be fetched"),
    ],
)
def test_which_pictures_are_fetched(url: str, hosts: list[str], found: bytes | str, elsewhere: int) -> None:
    named = [host.format(port=elsewhere) for host in hosts]
    if isinstance(found, bytes):
        assert fetch(url.format(port=elsewhere), named, 1000, time.monotonic() + 5) == found
    else:
        with pytest.raises(RequestError, match=found):
            fetch(url.format(port=elsewhere), named, 1000, time.monotonic() + 5)
