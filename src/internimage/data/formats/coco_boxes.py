"""Boxes of COCO's files that are no x, y, width and height in pixels: told by looking at all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from internimage.data.objects import ObjectTable
from internimage.data.objects.columns import Array
from internimage.errors import DataError
from internimage.settings.data import Boxes

_MANY = 3  # boxes from which their numbers are judged together


def judge_boxes(path: Path, table: ObjectTable) -> None:
    """Raise :class:`DataError` if the boxes of a file, read as x, y, width and height, must be something else."""
    count = len(table.boxes)
    if count < _MANY:
        return
    x, y = table.boxes[:, 0], table.boxes[:, 1]
    right, down = table.boxes[:, 2], table.boxes[:, 3]
    width, height = right - x, down - y
    rows, columns = table.sizes[table.image_of].T
    values = np.stack([x, y, width, height])
    if values.min() >= 0 and values.max() <= 1 and min(rows.min(), columns.min()) > _MANY:
        raise DataError(
            f"{path}: all {count} boxes lie between 0 and 1: they look like shares of the picture; expected x, y, "
            f"width and height in pixels (internimage data convert --boxes {_kind_of_shares(values)})"
        )
    reach = int(((right > columns + 1) | (down > rows + 1)).sum())
    corners = (x < width) & (width <= columns + 1) & (y < height) & (height <= rows + 1)
    if corners.all() and reach > count / 4:
        raise DataError(
            f"{path}: {reach} of {count} boxes reach out of their pictures as x, y, width and height, and none as "
            "x1, y1, x2, y2: they look like corners; expected x, y, width and height (internimage data convert "
            "--boxes corners)"
        )


def _kind_of_shares(values: Array) -> Boxes:
    """Corner and size where all stay in the picture; else two corners, if the second is beyond the first."""
    x, y, right, down = values
    if (x + right <= 1.001).all() and (y + down <= 1.001).all():
        return "shares"
    return "share-corners" if ((right > x) & (down > y)).all() else "yolo"
