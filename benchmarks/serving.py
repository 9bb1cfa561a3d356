"""A server under load: pictures a second beside the plain loop, waiting times, overload, memory.

    python benchmarks/serving.py faster_rcnn_internimage_atto_bccd_320 --pictures cells/images
    python benchmarks/serving.py internimage_atto_clothing_128 --pictures photos/ --requests 20000 --workers 2

The plain loop is a ``Predictor`` over the same files in a process of its own, on all cores, before and after; the
client is another process, which shares the cores with the server.  Each answer is compared with the loop's own for
that picture.  Prints a JSON line for each part.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import internimage

HOST = "127.0.0.1"
KEPT = 2.0  # seconds that a connection is kept for another request


class Client:
    """Sends pictures over connections that stay open, and keeps what came back.

    Args:
        port: of the server.
        pictures: bytes.
        expected: of each the answer.
    """

    def __init__(self, port: int, pictures: list[bytes], expected: list[Any]) -> None:
        self.port = port
        head = f"POST /predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: image/jpeg\r\nContent-Length: "
        self.requests = [f"{head}{len(one)}\r\n\r\n".encode() + one for one in pictures]
        self.expected = expected
        self.idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.rows: list[tuple[int, float]] = []
        self.wrong = self.lost = 0

    async def send(self, number: int) -> None:
        """One request, on a free connection or a new one."""
        start = time.perf_counter()
        try:
            reader, writer = await self._connection(start)
            writer.write(self.requests[number])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            self.lost += 1
            return
        status = int(head.split(b" ", 2)[1])
        self.rows.append((status, time.perf_counter() - start))
        if status == 200 and not same(json.loads(body)["results"][0], self.expected[number]):
            self.wrong += 1
        self.idle.append((time.perf_counter(), reader, writer))

    async def _connection(self, now: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that was used a moment ago, since the server closes idle ones, or a new one."""
        while self.idle:
            used, reader, writer = self.idle.pop()
            if now - used < KEPT:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(HOST, self.port)

    async def saturate(self, count: int, at_once: int) -> float:
        """So many requests, some at a time; requests a second."""
        numbers = iter(range(count))

        async def one_after_the_other() -> None:
            for number in numbers:
                await self.send(number % len(self.requests))

        start = time.perf_counter()
        await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
        return count / (time.perf_counter() - start)

    async def arrive(self, rate: float, seconds: float) -> None:
        """Requests at regular times, whatever becomes of those before."""
        start, tasks = time.perf_counter(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(self.send(number % len(self.requests))))
        await asyncio.gather(*tasks)

    def numbers(self) -> dict[str, Any]:
        """What came back since the last time."""
        good = sorted(seconds for status, seconds in self.rows if status == 200)
        refused = sorted(seconds for status, seconds in self.rows if status == 503)
        found = {
            "answered": len(good),
            "refused": len(refused),
            "other": len(self.rows) - len(good) - len(refused),
            "lost": self.lost,
            "of_another_picture": self.wrong,
            **{f"p{share}_ms": round(1000 * quantile(good, share), 1) for share in (50, 99)},
        }
        if refused:
            found |= {
                "refused_p50_ms": round(1000 * quantile(refused, 50), 1),
                "refused_p99_ms": round(1000 * quantile(refused, 99), 1),
                "refused_max_ms": round(1000 * refused[-1], 1),
            }
        self.rows, self.lost, self.wrong = [], 0, 0
        return found


def same(answer: Any, expected: Any) -> bool:
    """Whether an answer is that of the picture; batches of other sizes round otherwise."""
    if isinstance(expected, dict):
        return all(key == "image" or same(answer.get(key), value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    if isinstance(expected, float):
        return abs(answer - expected) <= 1e-3 * max(1.0, abs(expected))
    return bool(answer == expected)


def quantile(rows: list[float], share: int) -> float:
    return rows[min(len(rows) - 1, len(rows) * share // 100)] if rows else 0.0


def memory(process: int) -> int:
    """MiB that a process and its children have in memory."""
    children = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    total = 0
    for one in (str(process), *children):
        status = Path(f"/proc/{one}/status")
        rows = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        total += int(rows["VmRSS"].split()[0]) >> 10
    return total


def loop(model: str, files: list[Path], count: int) -> None:
    """The plain loop, in a process of its own: prints pictures a second, and the answers."""
    predictor = internimage.Predictor(model)
    answers = [predictor.spec.to_dict(predictor(file), internimage_shown()) for file in files]
    many = [files[number % len(files)] for number in range(count)]
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for _result in predictor.stream(many):
            pass
        rates.append(count / (time.perf_counter() - start))
    print(json.dumps({"rate": statistics.median(rates), "rates": rates, "answers": answers}))


def internimage_shown() -> Any:
    from internimage.settings.views import DisplayOptions

    return DisplayOptions()


def plain(options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, options.model, "--pictures", str(options.pictures), "--loop"]
    done = subprocess.run([*command, "--plain", str(options.plain)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


async def measure(
    options: argparse.Namespace, port: int, process: int, loops: dict[str, Any], files: list[Path]
) -> None:
    gc.collect()
    gc.freeze()  # the client's own pauses are not the server's
    client = Client(port, [file.read_bytes() for file in files], loops["answers"])
    await client.saturate(4 * options.at_once, options.at_once)
    client.numbers()
    rates = [await client.saturate(options.plain, options.at_once) for _ in range(3)]
    rate = statistics.median(rates)
    tell("saturated", rate=round(rate, 1), rates=[round(one, 1) for one in rates], **client.numbers())
    await client.arrive(rate / 2, options.seconds / 2)
    tell("half load", **client.numbers())
    await client.arrive(3 * rate, options.seconds)
    tell("three times overload", **client.numbers())
    if options.requests:
        sizes = []
        for _ in range(10):
            await client.saturate(options.requests // 10, options.at_once)
            sizes.append(memory(process))
        tell("memory", mib=sizes, **client.numbers())
    again = await asyncio.to_thread(plain, options)
    both = statistics.median([loops["rate"], again["rate"]])
    tell(
        "beside the plain loop",
        loop=round(both, 1),
        loops=[round(loops["rate"], 1), round(again["rate"], 1)],
        share=round(rate / both, 3),
    )


def tell(what: str, **numbers: Any) -> None:
    print(json.dumps({"part": what, **numbers}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--plain", type=int, default=200, help="pictures of the plain loop, and at saturation")
    parser.add_argument("--seconds", type=float, default=60, help="of overload; half of it at half load")
    parser.add_argument("--requests", type=int, default=0, help="while memory is looked at")
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = sorted(file for file in options.pictures.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))[
        :64
    ]
    if options.loop:
        loop(options.model, files, options.plain)
        return
    loops = plain(options)
    command = [sys.executable, "-m", "internimage", "serve", options.model, "--port", "0", "--log", "quiet"]
    command += ["--workers", str(options.workers), "--batch", str(options.batch)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = ""
        while "ready: curl" not in line:
            line = server.stderr.readline()
            if not line:
                raise SystemExit("the server did not start")
        port = int(line.rsplit(":", 1)[1].split("/")[0])
        urllib.request.urlopen(f"http://{HOST}:{port}/v2/health/ready").close()
        try:
            asyncio.run(measure(options, port, server.pid, loops, files))
        finally:
            server.terminate()
    print(f"{options.workers} workers, batches of {options.batch}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
