"""What a detector says about one image."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.objects import Object, class_colour, draw_objects
from internimage.errors import MissingExtraError
from internimage.images import ImageSource
from internimage.labels import COCO_CATEGORY_IDS, load_labels
from internimage.results.output import Shape
from internimage.results.pasting import paste_mask
from internimage.writing import counted


@dataclass(frozen=True)
class Detections:
    """Objects in one image, best first.

    Attributes:
        boxes: (K, 4) float32, x1, y1, x2, y2 in pixels of the original image.
        scores: (K,) float32, 0 to 1.
        labels: (K,) int64, numbers of classes.
        names: of all classes; "class 7" where the model has no names.
        size: (height, width) of the original image.
        source: the image, by name; it is read again when it is drawn, so that results stay small.
        soft_masks: (K, M, M) float32, probabilities within each box; None without masks.
    """

    boxes: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    names: tuple[str, ...]
    size: tuple[int, int]
    source: ImageSource
    soft_masks: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def masks(self) -> np.ndarray[Any, Any] | None:
        """(K, H, W) bool in the original image, made anew at each call; None without masks.

        100 masks of a photo of 12 megapixels are 1.2 GB; :meth:`mask` gives one.
        """
        if self.soft_masks is None:
            return None
        whole = np.zeros((len(self), *self.size), bool)
        for index in range(len(self)):
            whole[index] = self.mask(index)
        return whole

    def mask(self, index: int) -> np.ndarray[Any, Any] | None:
        """The mask (H, W) bool of object ``index``; None without masks."""
        if self.soft_masks is None:
            return None
        return paste_mask(self.soft_masks[index], self.boxes[index], self.size)

    def name(self, index: int) -> str:
        """Name of the class of object ``index``."""
        return self.names[int(self.labels[index])]

    def filter(
        self, score_threshold: float = 0.0, names: Collection[str] | None = None, *, score: float | None = None
    ) -> Detections:
        """Those with at least this score, and, if given, of classes with these ``names``.

        ``score`` is the old spelling of ``score_threshold``, for one release.

        Raises:
            KeyError: the model knows no class of such a name.
        """
        keep = self.scores >= _present(score_threshold, score)
        if names is not None:
            unknown = sorted(set(names) - set(self.names))
            if unknown:
                raise KeyError(f"no class is called {', '.join(unknown)}; there are {', '.join(self.names[:8])} ...")
            keep &= np.isin(self.labels, [index for index, name in enumerate(self.names) if name in names])
        soft = None if self.soft_masks is None else self.soft_masks[keep]
        return replace(
            self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep], soft_masks=soft
        )

    def draw(self, score_threshold: float = 0.3, *, score: float | None = None) -> Image.Image:
        """The picture with the objects of at least this score: outlines, masks, names; the best on top.

        A colour stands for a class, or, where there is only one, for an object.
        """
        several = len(self.names) > 1
        shown = self.filter(_present(score_threshold, score))
        objects = (
            Object(
                tuple(shown.boxes[i].tolist()),
                f"{shown.name(i)} {shown.scores[i]:.0%}",
                class_colour(int(shown.labels[i]) if several else i),
                shown.mask(i),
            )
            for i in reversed(range(len(shown)))
        )
        return draw_objects(self.source.show(), objects)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: boxes as x1, y1, x2, y2, masks as COCO's run lengths."""
        objects: list[dict[str, Any]] = [
            {"label": self.name(i), "index": int(self.labels[i]), "score": float(self.scores[i]), "box": box}
            for i, box in enumerate(self.boxes.tolist())
        ]
        for i, entry in enumerate(objects):
            mask = self.mask(i)
            if mask is not None:
                entry["segmentation"] = {"size": list(self.size), "counts": run_lengths(mask)}
        return {"image": self.source.name, "height": self.size[0], "width": self.size[1], "objects": objects}

    def to_coco(self, image_id: int, category_ids: tuple[int, ...] | None = None) -> list[dict[str, Any]]:
        """Entries of a COCO result file: boxes as x, y, width, height, masks as run lengths.

        Args:
            image_id: the image's number in the annotation file.
            category_ids: the file's number of each class; None for COCO's own where the classes are COCO's, else for
                1, 2, ...
        """
        if category_ids is None:
            official = self.names == load_labels("coco")
            category_ids = COCO_CATEGORY_IDS if official else tuple(range(1, len(self.names) + 1))
        entries = []
        for i in range(len(self)):
            x1, y1, x2, y2 = self.boxes[i].tolist()
            entry: dict[str, Any] = {
                "image_id": image_id,
                "category_id": category_ids[int(self.labels[i])],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(self.scores[i]),
            }
            mask = self.mask(i)
            if mask is not None:
                entry["segmentation"] = {"size": list(self.size), "counts": run_lengths(mask)}
            entries.append(entry)
        return entries

    def shapes(self, least: float = 0.0) -> Iterator[Shape]:
        """The objects with at least this score, as writers of files take them; masks are made one at a time."""
        shown = self.filter(least)
        for i in range(len(shown)):
            x1, y1, x2, y2 = shown.boxes[i].tolist()
            yield Shape(int(shown.labels[i]), (x1, y1, x2, y2), float(shown.scores[i]), shown.mask(i))

    def to_supervision(self) -> Any:
        """A ``supervision.Detections``.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtraError("to_supervision needs its package: pip install 'internimage[labelling]'") from error
        named = np.array([self.name(i) for i in range(len(self))])
        return supervision.Detections(
            xyxy=self.boxes, mask=self.masks, confidence=self.scores, class_id=self.labels, data={"class_name": named}
        )

    def __repr__(self) -> str:
        best = ", ".join(f"{self.name(i)} {self.scores[i]:.1%}" for i in range(min(3, len(self))))
        return f"Detections({self.source.name}: {counted(len(self), 'object')}{f', {best}' if best else ''})"


def _present(score_threshold: float, score: float | None) -> float:
    """The threshold under its old name, if it is given so."""
    if score is None:
        return score_threshold
    warnings.warn("score is now called score_threshold", DeprecationWarning, stacklevel=3)
    return score


def run_lengths(mask: np.ndarray[Any, Any]) -> list[int]:
    """Lengths of the runs of a bitmap (H, W), column by column, zeros first: COCO's uncompressed encoding."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], changes, [mask.size]]))]
