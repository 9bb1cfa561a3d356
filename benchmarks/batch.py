"""Many pictures through ``internimage batch``: the local processes beside Ray's, with and without killed ones.

    python benchmarks/batch.py internimage_atto_clothing_128 --pictures clothing/test --count 10000

Each job is a process of its own over the same folder of links.  In the second run of each kind one of its processes is
killed after a fifth and another after half of the parts.  Rows are counted and names compared: each picture once.
Prints a JSON line for each job, and what the cluster costs against the local loop.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any


def victims(job: int, on: str) -> list[int]:
    """The processes with the model."""
    pattern = ["-f", "ray::Map|ray::.*Predicting"] if on == "ray" else ["-P", str(job)]
    return [int(one) for one in subprocess.run(["pgrep", *pattern], capture_output=True, text=True).stdout.split()]


def run(command: list[str], output: Path, on: str, kills: list[int]) -> dict[str, Any]:
    """A job, of which a process is killed whenever so many parts are there."""
    start = time.perf_counter()
    first: tuple[float, int] | None = None
    with subprocess.Popen([*command, "--output", str(output), "--on", on], stderr=subprocess.DEVNULL) as job:
        while job.poll() is None:
            there = len(list(output.glob("*.jsonl")))
            if there and first is None:
                first = (time.perf_counter(), there)
            if kills and there >= kills[0]:
                os.kill(victims(job.pid, on)[0], signal.SIGKILL)
                kills = kills[1:]
            time.sleep(0.02)
    seconds = time.perf_counter() - start
    assert first is not None
    return {
        "status": job.returncode,
        "seconds": seconds,
        "until_first_part": first[0] - start,
        "not_killed": len(kills),
    }


def rows(output: Path, names: set[str]) -> dict[str, int]:
    """What is in the files."""
    lines = [json.loads(line) for file in output.glob("*.jsonl") for line in file.read_text().splitlines()]
    counts = Counter(line["image"] for line in lines)
    return {
        "rows": len(lines),
        "missing": len(names - set(counts)),
        "twice": sum(count > 1 for count in counts.values()),
        "errors": sum("error" in line for line in lines),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--part", type=int, default=256)
    options = parser.parse_args()
    files = sorted(file for file in options.pictures.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with tempfile.TemporaryDirectory() as place:
        source, rates = Path(place, "photos"), {}
        source.mkdir()
        names = {f"{number:06d}.jpg" for number in range(options.count)}
        for number, name in enumerate(sorted(names)):
            (source / name).symlink_to(files[number % len(files)].resolve())
        parts = -(-options.count // options.part)
        command = [sys.executable, "-m", "internimage", "batch", str(source), "--model", options.model]
        command += ["--processes", str(options.processes), "--part", str(options.part), "--threads", "1"]
        for killed in (False, True):
            for on in ("local", "ray"):
                output = Path(place, f"{on}-{killed}")
                found = run(command, output, on, [parts // 5, parts // 2] if killed else [])
                rates[on, killed] = options.count / found["seconds"]
                numbers = {name: round(value, 1) for name, value in found.items()}
                print(json.dumps({"on": on, "killed": killed, **numbers, **rows(output, names)}), flush=True)
    share = rates["local", False] / rates["ray", False] - 1
    print(json.dumps({"overhead_of_the_cluster": round(share, 3), "rates": [round(one, 1) for one in rates.values()]}))
    print(f"{options.count} pictures, {options.processes} processes of one thread, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
