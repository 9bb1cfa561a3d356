"""What tiles cost and gain: pictures of a COCO data set alone, and put together to large ones, whole and in tiles.

python benchmarks/tiles.py ../shared/data/bccd faster_rcnn_internimage_atto_bccd_320 --tile 640
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import internimage as ii
from internimage.metrics.coco import library


def mosaics(data: Path, part: str, grid: tuple[int, int], target: Path) -> Path:
    """The pictures of a part, as many as fill a grid (columns, rows) on each new one, with their objects."""
    content = json.loads((data / "annotations" / f"{part}.json").read_text())
    columns, rows = grid
    width, height = (max(one[side] for one in content["images"]) for side in ("width", "height"))
    (target / "annotations").mkdir(parents=True)
    (target / "val").mkdir()
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for first in range(0, len(content["images"]), columns * rows):
        canvas = Image.new("RGB", (columns * width, rows * height))
        number = len(images) + 1
        for place, one in enumerate(content["images"][first : first + columns * rows]):
            x, y = place % columns * width, place // columns * height
            canvas.paste(Image.open(data / part / one["file_name"]).convert("RGB"), (x, y))
            for entry in content["annotations"]:
                if entry["image_id"] == one["id"]:
                    objects.append(
                        moved(entry, x, y, (canvas.height, canvas.width)) | {"id": len(objects) + 1, "image_id": number}
                    )
        canvas.save(target / "val" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": canvas.width, "height": canvas.height})
    whole = {"images": images, "annotations": objects, "categories": content["categories"]}
    (target / "annotations" / "val.json").write_text(json.dumps(whole))
    return target


def moved(entry: dict[str, Any], x: int, y: int, size: tuple[int, int]) -> dict[str, Any]:
    """An object further right and down in a picture of this (height, width), with its mask if that is COCO's text."""
    left, top, width, height = entry["bbox"]
    result = {**entry, "bbox": [left + x, top + y, width, height]}
    if not isinstance(runs := result.pop("segmentation", None), dict):
        return result
    functions = library().mask
    mask = np.zeros(size, np.uint8, order="F")
    rows, columns = runs["size"]
    mask[y : y + rows, x : x + columns] = functions.decode({**runs, "counts": runs["counts"].encode()})
    encoded = functions.encode(mask)
    return {**result, "segmentation": {**encoded, "counts": encoded["counts"].decode()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("--part", default="val")
    parser.add_argument("--tile", type=int, default=640)
    parser.add_argument("--grid", type=int, nargs=2, default=(4, 3), metavar=("COLUMNS", "ROWS"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        large = mosaics(options.data, options.part, tuple(options.grid), Path(folder) / "large")
        for name, data, tiles in (
            ("pictures alone", options.data, None),
            ("large, as a whole", large, None),
            ("large, in tiles", large, ii.Tiles(options.tile)),
            ("large, in tiles only", large, ii.Tiles(options.tile, whole=False)),
            ("large, in tiles, greedy", large, ii.Tiles(options.tile, merge="greedy")),
            ("large, in tiles only, greedy", large, ii.Tiles(options.tile, whole=False, merge="greedy")),
        ):
            start = time.perf_counter()
            part = options.part if data == options.data else "val"
            found = ii.evaluate(data, options.model, part=part, tiles=tiles, device="cpu").compute()
            # of pictures with more than 100 objects, those beyond count too
            numbers = {key: value for key, value in found.items() if key in ("box_ap", "mask_ap") or "_at_" in key}
            print(f"{name}: {numbers}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
