"""Data that runs of earlier versions were started on, painted anew."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def paint(task: str, root: Path) -> Path:
    """Eight training and four validation images of two kinds of squares, as a task reads them."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        images, annotations = [], []
        for number in range(count):
            pixels = rng.integers(0, 60, (72, 96, 3), dtype=np.uint8)
            kind, x, y = number % 2, int(rng.integers(4, 50)), int(rng.integers(4, 30))
            pixels[y : y + 32, x : x + 32] = ((200, 40, 40), (40, 40, 200))[kind]
            if task == "classification":
                file = root / part / ("red", "blue")[kind] / f"{number}.png"
            else:
                file = root / part / ("images" if task == "segmentation" else "") / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
            if task == "segmentation":
                labels = np.zeros((72, 96), np.uint8)
                labels[y : y + 32, x : x + 32] = 1 + kind
                mask = root / part / "masks" / f"{number}.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels).save(mask)
            images.append({"id": number, "file_name": f"{number}.png", "height": 72, "width": 96})
            outline = [x, y, x + 32, y, x + 36, y + 16, x + 32, y + 32, x, y + 32]
            annotation = {"id": number, "image_id": number, "category_id": kind + 1, "bbox": [x, y, 36, 32]}
            annotations.append({**annotation, "area": 1088, "iscrowd": 0, "segmentation": [outline]})
        if task == "detection":
            categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
            content = {"images": images, "annotations": annotations, "categories": categories}
            (root / "annotations").mkdir(exist_ok=True)
            (root / "annotations" / f"{part}.json").write_text(json.dumps(content))
    if task == "segmentation":
        (root / "classes.txt").write_text("background\nred\nblue\n")
    return root
