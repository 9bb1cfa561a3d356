"""Random objects and detections of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.data.objects import ObjectAnnotation, ObjectImage, ObjectImages
from internimage.images import ImageSource
from internimage.results.detections import Detections, run_lengths

CLASSES, IDENTITIES = ("cat", "nothing", "dog", "crowds", "bird"), (3, 7, 8, 20, 21)


def random_data() -> tuple[ObjectImages, list[Detections]]:
    """12 images with crowds; objects found a little beside where they are, with equal scores among them."""
    draw = np.random.default_rng(3)
    images, results = [], []
    for number in range(12):
        height, width = 180 + 5 * number, 260 - 4 * number
        objects: list[ObjectAnnotation] = []
        found = []
        for index in range(9):
            w, h = (round(float(draw.uniform(8, 160))) for _ in range(2))
            x, y = int(draw.integers(0, width - w)), int(draw.integers(0, height - h))
            label = int(draw.choice([0, 2, 3, 4]))
            crowd = label == 3 or index == 8
            shape: Any = [[x, y, x + w, y, x + w, y + h, x + w / 3, y + h, x, y + h / 2], [x, y, x + 3, y, x, y + 9]]
            if crowd:
                pixels = np.zeros((height, width), bool)
                pixels[y : y + h, x : x + w] = draw.random((h, w)) < 0.9
                shape = {"size": [height, width], "counts": run_lengths(pixels)} if number % 2 else None
            objects.append(ObjectAnnotation((x, y, x + w, y + h), label, shape, crowd, len(objects)))
            for _ in range(int(draw.integers(0, 4))):
                box = np.array([x, y, x + w, y + h]) + draw.normal(0, 0.08, 4) * [w, h, w, h]
                found.append((np.sort(box.reshape(2, 2), 0).ravel(), round(float(draw.random()), 1), label))
        images.append(ObjectImage(Path(f"{number}.jpg"), 2**62 - number, (height, width), tuple(objects)))
        found.sort(key=lambda one: -one[1])
        boxes, scores, labels = (np.array(column) for column in zip(*found, strict=True))
        rows, columns = np.indices((28, 28))  # without the lower left corner, now more of it, now less
        soft = (rows - 1.5 * columns < draw.uniform(0, 28, (len(found), 1, 1))).astype(np.float32)
        soft[0] = 0  # an empty mask
        source = ImageSource(f"{number}.jpg", Image.new("RGB", (width, height)))
        size = (height, width)
        results.append(Detections(boxes.astype(np.float32), scores, labels, CLASSES, size, source, soft))
    return ObjectImages("random", CLASSES, IDENTITIES, tuple(images)), results
