"""Seconds and memory that it takes to open an annotation file of Objects365's size, and to open it again.

    python benchmarks/annotations.py annotations/ --pictures 1742289 --boxes 20000000

Writes a file of that size with random boxes and empty pictures beside it, which takes minutes and some gigabytes; one
that is there is taken as it is.  Each opening is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np

PATCHES, CLASSES, AT_ONCE = 51, 365, 10_000


def write(folder: Path, pictures: int, boxes: int) -> Path:
    file = folder / "zhiyuan_objv2_train.json"
    if file.is_file():
        return file
    rng = np.random.default_rng(0)
    counts = rng.multinomial(boxes, np.full(pictures, 1 / pictures))
    names = [f"patch{index * PATCHES // pictures}/objects365_v1_{index:08d}.jpg" for index in range(pictures)]
    for patch in range(PATCHES):
        (folder / "train" / f"patch{patch}").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "train" / name).touch()
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as text:
        entries = (
            {"id": n, "width": 1024, "height": 683, "file_name": f"images/v1/{name}"} for n, name in enumerate(names)
        )
        text.write('{"images": [' + ", ".join(map(json.dumps, entries)) + '], "annotations": [')
        number = 0
        for start in range(0, pictures, AT_ONCE):
            lines = []
            for image in range(start, min(pictures, start + AT_ONCE)):
                values = np.round(rng.random((counts[image], 4)) * (800, 500, 200, 150) + (0, 0, 2, 2), 10).tolist()
                for x, y, width, height in values:
                    number += 1
                    lines.append(
                        f'{{"id": {number}, "iscrowd": {int(number % 33 == 0)}, "isfake": 0, "area": {width * height}, '
                        f'"isreflected": 0, "bbox": [{x}, {y}, {width}, {height}], "image_id": {image}, '
                        f'"category_id": {number % CLASSES + 1}}}'
                    )
            text.write((", " if start else "") + ", ".join(lines))
        categories = [{"id": n, "name": f"class {n}"} for n in range(1, CLASSES + 1)]
        text.write(f'], "categories": {json.dumps(categories)}}}')
    partial.rename(file)
    return file


def opened(folder: Path, answer: multiprocessing.SimpleQueue[dict[str, float]]) -> None:
    from internimage.data.formats.sets.objects365 import read_parts
    from internimage.settings.data import DataOptions

    start, spent = time.perf_counter(), time.process_time()
    part = read_parts(folder, "train")["train"]
    found = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - spent}
    found |= {"pictures": len(part), "boxes": len(part.table.boxes)}
    start = time.perf_counter()
    part.usable(DataOptions())
    found["seconds_usable"] = time.perf_counter() - start
    answer.put(found | {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=1_742_289)
    parser.add_argument("--boxes", type=int, default=20_000_000)
    options = parser.parse_args()
    file = write(options.folder, options.pictures, options.boxes)
    print(f"{file}: {file.stat().st_size / 2**30:.2f} GiB")
    cache = options.folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["INTERNIMAGE_CACHE"] = str(cache)
    context = multiprocessing.get_context("spawn")
    for name in ("first", "again", "again", "again"):
        answer: multiprocessing.SimpleQueue[dict[str, float]] = context.SimpleQueue()
        process = context.Process(target=opened, args=(options.folder, answer))
        process.start()
        found = answer.get()
        process.join()
        print(name, json.dumps({key: round(value, 2) for key, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
