"""An index of many vectors: writing, memory, exact and approximate questions, what the approximate index finds.

    python benchmarks/search.py --vectors 100000
    python benchmarks/search.py --vectors 1000000 --kind clustered
    python benchmarks/search.py --real photos/ --model internimage_atto_clothing_128

Prints one JSON line a kind of vectors.  "clustered": 1,000 middles, noise in 32 common directions round each, a little
in all others; "random": all directions alike, for which no index is good; with --real: features of a folder's pictures.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from internimage.multimodal.search.encoders.encoder import load_encoder, normalised
from internimage.multimodal.search.entries import Array, Entry, Stamp
from internimage.multimodal.search.reading import list_files, read_picture
from internimage.multimodal.search.store import About, Store, find_or_create

WIDTH, BATCH, QUESTIONS, NEAREST = 512, 10_000, 50, 10


def drawn(kind: str, count: int, seed: int, random: np.random.Generator) -> Array:
    """Vectors (N, 512) of length 1; those of one seed have their middles and directions in common."""
    noise = random.standard_normal((count, WIDTH), np.float32)
    if kind == "random":
        return normalised(noise, kind)
    common = np.random.default_rng(seed)
    middles = common.standard_normal((1000, WIDTH), np.float32)
    directions = common.standard_normal((32, WIDTH), np.float32) / np.float32(32**0.5)
    near = random.standard_normal((count, 32), np.float32) @ directions
    return normalised(0.7 * middles[random.integers(1000, size=count)] + near + 0.2 * noise, kind)


def entries(start: int, count: int) -> list[Entry]:
    return [
        Entry(f"/album/{number // 1000}/{number}.jpg", "picture", Stamp(1, number), str(number), number, 640, 480)
        for number in range(start, start + count)
    ]


def asked(store: Store, questions: Array, exact: bool) -> tuple[list[set[str]], float]:
    """Ids that are found, and seconds a question."""
    start = time.perf_counter()
    found = [{one.entry.id for one in store.nearest(question, NEAREST, exact=exact)} for question in questions]
    return found, (time.perf_counter() - start) / len(questions)


def measure(place: str, batches: Sequence[Callable[[], Array]], questions: Array) -> dict[str, Any]:
    """Numbers of one index; ``batches`` are callables that give vectors."""
    store = find_or_create(place, About("benchmark", "0", questions.shape[1]))
    writing = 0.0
    total = 0
    for batch in batches:
        vectors = batch()
        start = time.perf_counter()
        store.put(entries(total, len(vectors)), vectors, fresh=True)
        writing += time.perf_counter() - start
        total += len(vectors)
    start = time.perf_counter()
    store.tidy()
    tidying = time.perf_counter() - start
    store.nearest(questions[0], NEAREST)
    truth, exact = asked(store, questions, exact=True)
    start = time.perf_counter()
    store.set_approximate(True)
    building = time.perf_counter() - start
    found, approximate = asked(store, questions, exact=False)
    recall = sum(len(a & b) for a, b in zip(truth, found, strict=True)) / sum(map(len, truth))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "vectors": total,
        "writing_s": round(writing, 1),
        "tidying_s": round(tidying, 1),
        "exact_ms": round(1000 * exact, 1),
        "index_build_s": round(building, 1),
        "index_ms": round(1000 * approximate, 1),
        "recall_at_10": round(recall, 4),
        "peak_memory_mb": round(peak),
        "disk_mb": round(sum(file.stat().st_size for file in Path(place).rglob("*") if file.is_file()) / 2**20),
    }


def real(folder: str, model: str) -> Array:
    """Pooled features of a folder's pictures."""
    encoder = load_encoder(model)
    files = list_files([folder])
    rows = [
        encoder.pictures([read_picture(file)[0] for file in files[at : at + 16]]) for at in range(0, len(files), 16)
    ]
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=("clustered", "random"), nargs="*", default=("clustered", "random"))
    parser.add_argument("--real", metavar="FOLDER")
    parser.add_argument("--model", default="internimage_atto_clothing_128")
    given = parser.parse_args()
    for kind in ("real",) if given.real else given.kind:
        random = np.random.default_rng(1)
        if kind == "real":
            vectors = real(given.real, given.model)
            questions, rows = vectors[::7][:QUESTIONS], [partial(np.asarray, vectors)]
        else:
            questions = drawn(kind, QUESTIONS, 0, np.random.default_rng(2))
            sizes = [min(BATCH, given.vectors - at) for at in range(0, given.vectors, BATCH)]
            rows = [partial(drawn, kind, size, 0, random) for size in sizes]
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps({"kind": kind, **measure(folder, rows, questions)}), flush=True)


if __name__ == "__main__":
    main()
