"""What a detector says about one image."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from internimage.drawing.objects import Object, class_colour, draw_objects
from internimage.errors import ConfigError, MissingExtraError
from internimage.images import ImageInput, ImageSource
from internimage.images.inputs.listing import list_images
from internimage.labels import COCO_CATEGORY_IDS, load_labels
from internimage.results.output import Shape
from internimage.results.pasting import ObjectMask, paste_in_box, united
from internimage.writing import counted


class MaskParts(NamedTuple):
    """Masks of parts of an object: boxes (P, 4) float32 as those of a result, soft masks (P, M, M) float32 in them."""

    boxes: np.ndarray[Any, Any]
    soft_masks: np.ndarray[Any, Any]


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
        soft_masks: (K, M, M) float32, probabilities within each box; None without masks, and where ``mask_parts`` has
            them.
        mask_parts: of objects that were put together from tiles of the picture, what the mask of each is the union of;
            None without masks or without tiles.
        bitmaps: of objects whose masks are pixels to begin with, these; None otherwise.
        tracks: (K,) int64, the number that a tracker gave each object of a video; None without one.
    """

    boxes: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    names: tuple[str, ...]
    size: tuple[int, int]
    source: ImageSource
    soft_masks: np.ndarray[Any, Any] | None = None
    mask_parts: tuple[MaskParts, ...] | None = None
    bitmaps: tuple[ObjectMask, ...] | None = None
    tracks: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def has_masks(self) -> bool:
        """Whether the objects have masks beside boxes."""
        return any(one is not None for one in (self.soft_masks, self.mask_parts, self.bitmaps))

    def part(self, places: np.ndarray[Any, Any]) -> Detections:
        """The objects at these places, or where a mask (K,) says so."""
        soft = None if self.soft_masks is None else self.soft_masks[places]
        numbers = np.arange(len(self))[places]
        parts = None if self.mask_parts is None else tuple(self.mask_parts[i] for i in numbers)
        bitmaps = None if self.bitmaps is None else tuple(self.bitmaps[i] for i in numbers)
        tracks = None if self.tracks is None else self.tracks[places]
        boxes, scores, labels = self.boxes[places], self.scores[places], self.labels[places]
        chosen = replace(self, boxes=boxes, scores=scores, labels=labels, tracks=tracks)
        return replace(chosen, soft_masks=soft, mask_parts=parts, bitmaps=bitmaps)

    @property
    def masks(self) -> np.ndarray[Any, Any] | None:
        """(K, H, W) bool in the original image, made anew at each call; None without masks.

        100 masks of a photo of 12 megapixels are 1.2 GB; :meth:`mask` gives one.
        """
        if not self.has_masks:
            return None
        whole = np.zeros((len(self), *self.size), bool)
        for index in range(len(self)):
            whole[index] = self.mask(index)
        return whole

    def mask(self, index: int) -> np.ndarray[Any, Any] | None:
        """The mask (H, W) bool of object ``index``; None without masks."""
        mask = self.object_mask(index)
        return None if mask is None else mask.whole()

    def object_mask(self, index: int) -> ObjectMask | None:
        """The mask of object ``index`` as far as it reaches; None without masks."""
        if self.bitmaps is not None:
            return self.bitmaps[index]
        if self.mask_parts is not None:
            return united(paste_in_box(soft, box, self.size) for box, soft in zip(*self.mask_parts[index], strict=True))
        return None if self.soft_masks is None else paste_in_box(self.soft_masks[index], self.boxes[index], self.size)

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
        return self.part(keep)

    def draw(self, score_threshold: float = 0.3, *, score: float | None = None) -> Image.Image:
        """The picture with the objects of at least this score: outlines, masks, names; the best on top.

        A colour stands for a class, or, where there is only one, for an object.
        """
        several = len(self.names) > 1
        shown = self.filter(_present(score_threshold, score))
        return draw_objects(self.source.show(), (shown._drawn(i, several) for i in reversed(range(len(shown)))))

    def _drawn(self, index: int, several: bool) -> Object:
        """How an object is drawn."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        track = "" if self.tracks is None else f" #{self.tracks[index]}"
        text = f"{self.name(index)}{track} {self.scores[index]:.0%}"
        colour, mask = class_colour(int(self.labels[index]) if several else index), self.object_mask(index)
        if mask is None:
            return Object((x1, y1, x2, y2), text, colour)
        return Object((x1, y1, x2, y2), text, colour, mask.bitmap, (mask.left, mask.top))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: boxes as x1, y1, x2, y2, masks as COCO's run lengths."""
        objects: list[dict[str, Any]] = [
            {"label": self.name(i), "index": int(self.labels[i]), "score": float(self.scores[i]), "box": box}
            for i, box in enumerate(self.boxes.tolist())
        ]
        for i, entry in enumerate(objects):
            mask = self.object_mask(i)
            if self.tracks is not None:
                entry["track"] = int(self.tracks[i])
            if mask is not None:
                entry["segmentation"] = {"size": list(self.size), "counts": mask.run_lengths()}
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
            mask = self.object_mask(i)
            if mask is not None:
                entry["segmentation"] = {"size": list(self.size), "counts": mask.run_lengths()}
            entries.append(entry)
        return entries

    def shapes(self, least: float = 0.0) -> Iterator[Shape]:
        """The objects with at least this score, as writers of files take them; masks are made one at a time."""
        shown = self.filter(least)
        for i in range(len(shown)):
            x1, y1, x2, y2 = shown.boxes[i].tolist()
            yield Shape(int(shown.labels[i]), (x1, y1, x2, y2), float(shown.scores[i]), shown.object_mask(i))

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
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            tracker_id=self.tracks,
            data={"class_name": named},
        )

    @classmethod
    def from_supervision(cls, found: Any, image: ImageInput, names: Sequence[str] | None = None) -> Detections:
        """The objects of a ``supervision.Detections``, as one of its trackers, slicers or readers of data gives them.

        Args:
            found: boxes, and as far as it has them masks, scores (otherwise 1), classes (otherwise one), tracks.
            image: the picture that they are in.
            names: of all classes; by default those that ``found.data["class_name"]`` tells, "class 7" for others.

        Raises:
            ConfigError: an object is of a class without a name, masks are of another size, or it is not one picture.
            ImageReadError: the picture cannot be read.
        """
        count = len(found.xyxy)
        scores = np.ones(count, np.float32) if found.confidence is None else np.asarray(found.confidence, np.float32)
        labels = np.zeros(count, np.int64) if found.class_id is None else np.asarray(found.class_id, np.int64)
        if names is None:
            told = dict(zip(labels.tolist(), map(str, found.data.get("class_name", ())), strict=False))
            names = [told.get(one, f"class {one}") for one in range(1 + max(labels.tolist(), default=0))]
        if unnamed := [one for one in labels.tolist() if not 0 <= one < len(names)]:
            raise ConfigError(f"an object is of class {unnamed[0]}; there are {len(names)} names")
        sources = list_images(image)
        if len(sources) != 1:
            raise ConfigError(f"expected the one picture that the objects are in, not {len(sources)} of them")
        source = sources[0]
        width, height = source.show().size
        if found.mask is not None and tuple(found.mask.shape[1:]) != (height, width):
            raise ConfigError(f"masks are {tuple(found.mask.shape[1:])}, the picture (height, width) {(height, width)}")
        masks = None if found.mask is None else tuple(ObjectMask.of(np.asarray(one, bool)) for one in found.mask)
        tracks = None if found.tracker_id is None else np.asarray(found.tracker_id, np.int64)
        boxes = np.asarray(found.xyxy, np.float32).reshape(-1, 4)
        one = cls(boxes, scores, labels, tuple(names), (height, width), source, bitmaps=masks, tracks=tracks)
        return one.part(np.argsort(-scores, kind="stable"))

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
    return ObjectMask.of(mask).run_lengths()
