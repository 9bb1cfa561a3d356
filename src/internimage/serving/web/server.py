"""The server around the application: its socket, slow clients, signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from internimage.errors import ConfigError
from internimage.serving.log import say
from internimage.serving.metrics import Metrics
from internimage.serving.pool import Pool
from internimage.serving.settings import ServedModel, ServingSettings, WorkerSettings
from internimage.serving.web.app import create_app
from internimage.writing import counted

_BACKLOG = 2048
_CONNECTIONS = 1000  # beyond what the queue holds
_LONGER = 1.0  # seconds that a connection has after its request was given up, for the answer that says so
_HEAD = 64 * 1024  # bytes of a request's headers
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_UPGRADE = re.compile(rb"(\r\n)upgrade:", re.IGNORECASE)
_LOOK = 0.05  # seconds between looks at whether all is there


def serve(models: Sequence[ServedModel], settings: ServingSettings, worker: WorkerSettings) -> None:
    """Answer requests until a signal; those that are there then are answered first.

    Args:
        models: by name.
        settings: how requests are taken.
        worker: how models run.

    Raises:
        ConfigError: a model cannot be loaded, two have one name, the port is taken.
    """
    metrics = Metrics()
    pool = Pool(models, settings, worker, metrics, say)
    with _listening(settings.host, settings.port) as listening:
        if failure := asyncio.run(_serve(pool, metrics, listening)):
            raise ConfigError(failure)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.  It says that it is TCP: else asyncio lets small answers wait for 40 ms (Nagle)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # where it would let others take the port as well
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        advice = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"cannot listen at {host}, port {port}: {error.strerror or error}{advice}") from error
    return listening


async def _serve(pool: Pool, metrics: Metrics, listening: socket.socket) -> str | None:
    """Serve until a signal; why it came to no serving, or None."""
    settings = pool.settings
    server = _Server(
        uvicorn.Config(
            create_app(pool, metrics),
            http=_protocol(settings.body_seconds + _LONGER),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            limit_concurrency=_CONNECTIONS + settings.queue,
            timeout_graceful_shutdown=int(settings.seconds) + 1,
            server_header=False,
        )
    )
    announcing = asyncio.create_task(_announce(pool, server, listening.getsockname()))
    await server.serve(sockets=[listening])
    announcing.cancel()
    (failure,) = await asyncio.gather(announcing, return_exceptions=True)
    return failure if isinstance(failure, str) else None


async def _announce(pool: Pool, server: uvicorn.Server, address: tuple[Any, ...]) -> str | None:
    """Say when the models are there; end the server when they cannot be, and give the reason."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    place = f"http://{host}:{address[1]}"
    say(f"listening at {place}, loading {', '.join(pool.known)}")
    while not pool.ready:
        if failure := pool.failure:
            server.should_exit = True
            return failure
        await asyncio.sleep(_LOOK)
    gc.collect()
    gc.freeze()  # what is here stays; to look at all of it again took 0.1 s in which nobody was answered
    for name in pool.wanted:
        if (facts := pool.facts(name)) is not None:
            say(f"{name}: a {facts.noun}, {counted(len(facts.labels), 'class')}, {facts.runtime}")
    if pool.settings.page:
        say(f"a page for people: {place}/")
    say(f"ready: curl --data-binary @photo.jpg {place}/predict")
    return None


class _Server(uvicorn.Server):
    """Ends with status 0 after a signal that it has obeyed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: Any) -> None:
        self.force_exit, self.should_exit = self.should_exit, True
        if not self.force_exit:
            say("stopping; requests that are here are answered first (again: at once)")


def _protocol(patience: float) -> type[HttpToolsProtocol]:
    """HTTP that closes a connection whose next request does not come, or does not end, in so many seconds.

    Headers have a bound, and offers of another protocol are not heard: the parser would drop the body behind them.
    """

    class Impatient(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _head: int | None = 0  # bytes of it so far; None behind it

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head is not None:
                head, end, rest = data.partition(b"\r\n\r\n")
                self._head += len(head)
                if self._head > _HEAD:
                    self.transport.write(_TOO_LONG)
                    self.transport.close()
                    return
                data = _UPGRADE.sub(rb"\1x-offer:", head) + end + rest
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._head = None
            super().on_headers_complete()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait()

        def on_message_complete(self) -> None:
            self._head = 0
            self._stop()
            super().on_message_complete()

        def _wait(self) -> None:
            self._stop()
            self._timer = self.loop.call_later(patience, self.transport.close)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Impatient
