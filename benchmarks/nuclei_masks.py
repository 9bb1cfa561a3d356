"""Nuclei as a class for every pixel: background, nucleus, boundary (the two outermost pixels of each nucleus).

    python benchmarks/nuclei_masks.py ../shared/data/nuclei runs/nuclei_masks

The boundary keeps nuclei apart that touch.  Writes train and val with images (as they are), masks and classes.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from internimage.data.formats.coco import read_parts
from internimage.data.objects import ObjectImage, bitmap
from internimage.data.splits import make_splits

CLASSES = {
    "classes": ["background", "nucleus", "boundary"],
    "palette": [[40, 40, 60], [80, 200, 120], [250, 120, 40]],
}


def inner(mask: np.ndarray) -> np.ndarray:
    """Pixels all of whose eight neighbours belong to the nucleus too; beyond the edge of the picture all do."""
    wide = np.pad(mask, 1, mode="edge")
    height, width = mask.shape
    shifts = [wide[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.logical_and.reduce(shifts)


def label_map(image: ObjectImage) -> np.ndarray:
    labels = np.zeros(image.size, np.uint8)
    for one in image.objects:
        whole = bitmap(one, image.size)
        core = inner(inner(whole))
        labels[core] = 1
        labels[whole & ~core] = 2
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a data set of objects with masks")
    parser.add_argument("target", type=Path, help="folder to write")
    options = parser.parse_args()
    splits, target = make_splits(read_parts(options.source), options.source), options.target
    for name, part in (("train", splits.train), ("val", splits.val)):
        for folder in ("images", "masks"):
            (target / name / folder).mkdir(parents=True, exist_ok=True)
        for image in part.images:
            assert isinstance(image.file, Path)
            shutil.copyfile(image.file, target / name / "images" / image.file.name)
            Image.fromarray(label_map(image)).save(target / name / "masks" / f"{image.file.stem}.png")
    (target / "classes.json").write_text(json.dumps(CLASSES))
    print(f"written: {target}")


if __name__ == "__main__":
    main()
