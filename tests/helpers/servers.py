"""A server in a process of its own, and requests to it."""

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import internimage

HOST = "127.0.0.1"
DEMO = Path(internimage.__file__).parent / "demo"
CELLS = sorted((DEMO / "cells" / "bccd" / "images").glob("*.jpg"))
PHOTOS = sorted((DEMO / "photos").rglob("*.jpg"))
DETECTOR, CLASSIFIER = "faster_rcnn_internimage_atto_bccd_320", "internimage_atto_clothing_128"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json().get("code") or self.json()["error"]["code"])

    @property
    def message(self) -> str:
        """Of an error: text of its own in the Open Inference Protocol."""
        error = self.json()["error"]
        return str(error if "code" in self.json() else error["message"])


class Served(NamedTuple):
    """A server that listens."""

    process: "subprocess.Popen[str]"
    port: int
    said: list[str]

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        return ask(self.port, path, body, method, **headers)

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        """A line on stderr that has this in it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := [line for line in self.said if text in line]:
                return found[0]
            assert self.process.poll() is None or text in "".join(self.said), self.said
            time.sleep(0.02)
        raise AssertionError(f"{text!r} was not said: {self.said}")


def ask(port: int, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@contextmanager
def served(*arguments: object) -> Iterator[Served]:
    """``internimage serve`` with these arguments, from when it listens until the block ends."""
    command = [sys.executable, "-m", "internimage", "serve", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said: list[str] = []
        assert process.stderr is not None
        reading = threading.Thread(target=lambda: said.extend(iter(process.stderr.readline, "")), daemon=True)
        reading.start()
        try:
            server = Served(process, 0, said)
            found = re.search(r"http://127\.0\.0\.1:(\d+)", server.wait_for("listening at"))
            assert found
            yield server._replace(port=int(found[1]))
        finally:
            process.kill()


def form(*pictures: tuple[str, bytes]) -> tuple[bytes, str]:
    """A multipart form and its type."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in pictures
    ]
    return b"".join(parts) + b"--cut--\r\n", "multipart/form-data; boundary=cut"
