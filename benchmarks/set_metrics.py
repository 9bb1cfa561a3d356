"""CPU seconds of each benchmark set's metric on made-up results of the real set's size, beside the set's own package.

    python benchmarks/set_metrics.py                        # all sets but lvis: a quarter of an hour
    python benchmarks/set_metrics.py lvis --runs 1 --alone  # 6 million detections: 6 GiB
    python benchmarks/set_metrics.py voc --images 500 --runs 5

From the contents of the files to the numbers, boxes alone, in one process that computes both in turn; medians.  Objects
are spread over pictures and classes as unevenly as real ones; a detector finds seven of ten, displaced, and fills up
with what is not there.  COCO's and BDD100K's package is pycocotools, LVIS' is lvis; without them ours stands alone, as
it does for the other sets, which have none that installs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from internimage.data.objects import Verified
from internimage.metrics.coco import average_precision
from internimage.metrics.found import Truth
from internimage.metrics.sets.crowdhuman import crowd_human_numbers
from internimage.metrics.sets.lvis import lvis_average_precision
from internimage.metrics.sets.openimages import open_images_precision
from internimage.metrics.sets.voc import voc_precision
from internimage.structures.boxes import Found

Array = np.ndarray[Any, Any]


class Size(NamedTuple):
    """A set: pictures, objects, classes, detections a picture; pictures are (height, width)."""

    images: int
    objects: int
    classes: int
    detections: int
    picture: tuple[int, int] = (480, 640)


SIZES = {
    "voc": Size(4_952, 14_976, 20, 100),
    "coco": Size(5_000, 36_781, 80, 100),
    "bdd100k": Size(10_000, 185_526, 10, 100, (720, 1280)),
    "crowdhuman": Size(4_370, 99_481, 1, 200, (800, 1200)),
    "openimages": Size(41_620, 303_980, 601, 100),
    "lvis-minival": Size(4_809, 59_000, 1_203, 300),
    "lvis": Size(19_809, 244_707, 1_203, 300),
}


@dataclass(frozen=True)
class MadeUp:
    """Objects and detections, a row each, pictures and classes by their numbers from 0; boxes are x1, y1, x2, y2."""

    size: Size
    image: Array
    label: Array
    box: Array
    found_image: Array
    found_label: Array
    found_box: Array
    score: Array

    def truths(self) -> list[Truth]:
        nothing = np.zeros(len(self.image), bool)
        return [Truth(self.size.picture, *one) for one in self._split(self.image, self.label, self.box, nothing)]

    def founds(self) -> list[Found]:
        return [Found(*one) for one in self._split(self.found_image, self.found_label, self.score, self.found_box)]

    def content(self) -> dict[str, Any]:
        """An annotation file of COCO's or LVIS' format."""
        height, width = self.size.picture
        images = [
            {"id": number, "height": height, "width": width, "neg_category_ids": [], "not_exhaustive_category_ids": []}
            for number in range(self.size.images)
        ]
        sizes = self.box[:, 2:] - self.box[:, :2]
        rows = zip(self.image.tolist(), self.label.tolist(), self.box.tolist(), sizes.tolist(), strict=True)
        annotations = [
            {
                **{"id": number, "image_id": image, "category_id": label + 1, "iscrowd": 0, "area": width * height},
                **{"bbox": [box[0], box[1], width, height], "segmentation": []},
            }
            for number, (image, label, box, (width, height)) in enumerate(rows, 1)
        ]
        categories = [
            {"id": label + 1, "name": str(label), "frequency": "rcf"[label % 3], "image_count": 1, "instance_count": 1}
            for label in range(self.size.classes)
        ]
        return {"images": images, "annotations": annotations, "categories": categories}

    def results(self) -> list[dict[str, Any]]:
        """A result file of COCO's format."""
        boxes = np.concatenate([self.found_box[:, :2], self.found_box[:, 2:] - self.found_box[:, :2]], 1)
        columns = (one.tolist() for one in (self.found_image, self.found_label, boxes, self.score))
        return [
            {"image_id": image, "category_id": label + 1, "bbox": box, "score": score}
            for image, label, box, score in zip(*columns, strict=True)
        ]

    def _split(self, image: Array, *columns: Array) -> list[tuple[Array, ...]]:
        order = np.argsort(image, kind="stable")
        starts = np.searchsorted(image[order], np.arange(1, self.size.images))
        return list(zip(*(np.split(column[order], starts) for column in columns), strict=True))


def made_up(size: Size, seed: int = 0) -> MadeUp:
    random = np.random.default_rng(seed)
    chances = 1 / np.arange(1, size.classes + 1)
    label = random.choice(size.classes, size.objects, p=chances / chances.sum())
    image = np.sort(random.choice(size.images, size.objects, p=random.dirichlet(np.full(size.images, 1.5))))
    box = _boxes(random, size, size.objects)
    seen = random.random(size.objects) < 0.7
    shift = random.normal(0, 0.05, (seen.sum(), 4)) * np.tile(box[seen, 2:] - box[seen, :2], 2)
    false = np.repeat(np.arange(size.images), size.detections)[: max(0, size.images * size.detections - seen.sum())]
    false = random.permutation(np.repeat(np.arange(size.images), size.detections))[: len(false)]
    found_box = np.concatenate([box[seen] + shift, _boxes(random, size, len(false))])
    found_box[:, 2:] = np.maximum(found_box[:, 2:], found_box[:, :2] + 1)
    return MadeUp(
        size,
        image,
        label,
        box,
        np.concatenate([image[seen], false]),
        np.concatenate([label[seen], random.choice(size.classes, len(false), p=chances / chances.sum())]),
        found_box,
        np.concatenate([random.beta(4, 2, seen.sum()), random.beta(1, 4, len(false))]),
    )


def _boxes(random: np.random.Generator, size: Size, count: int) -> Array:
    height, width = size.picture
    sides = np.exp(random.normal(np.log(60), 0.9, (count, 2))).clip(4, (width - 1, height - 1))
    corner = random.random((count, 2)) * ((width, height) - sides)
    return np.concatenate([corner, corner + sides], 1)


@dataclass(frozen=True)
class Metric:
    """What of a set is taken, as its files hold it, and the number that comes of it."""

    prepare: Callable[[MadeUp], Any]
    number: Callable[[Any], float]

    def timed(self, data: MadeUp) -> tuple[float, float]:
        """The number, and CPU seconds."""
        given = self.prepare(data)
        start = time.process_time()
        number = self.number(given)
        return number, time.process_time() - start


def files(data: MadeUp) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return data.content(), data.results()


def arrays(data: MadeUp) -> tuple[list[Truth], list[Found], Size]:
    return data.truths(), data.founds(), data.size


def coco_number(given: Any) -> float:
    content, results = given
    return average_precision(content, results, "bbox").numbers()["ap"]


def lvis_number(given: Any) -> float:
    content, results = given
    return lvis_average_precision(content, results, "bbox").numbers()["ap"]


def voc_number(given: Any) -> float:
    truths, founds, size = given
    return voc_precision(truths, founds, size.classes, "11 points").mean


def crowdhuman_number(given: Any) -> float:
    return crowd_human_numbers(*given[:2]).ap


def openimages_number(given: Any) -> float:
    """A third of the classes are kinds of the first; in each picture one class is known to be absent."""
    truths, founds, size = given
    kinds = np.eye(size.classes, dtype=bool)
    kinds[::3, 0] = True
    verified = [Verified(absent=frozenset({image % size.classes})) for image in range(size.images)]
    return open_images_precision(truths, founds, verified, kinds).mean


def pycocotools_number(given: Any) -> float:
    from pycocotools.coco import COCO  # type: ignore[import-untyped]
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

    content, results = given
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = {"info": {}, **content}
        annotated.createIndex()
        evaluation = COCOeval(annotated, annotated.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]
    return float(precision[precision > -1].mean())


def lvis_package_number(given: Any) -> float:
    np.float = float  # type: ignore[attr-defined]  # lvis 0.5.3 asks for the name that NumPy 1.24 took away
    from lvis import LVIS, LVISEval, LVISResults  # type: ignore[import-not-found]

    content, results = given
    annotated = LVIS.__new__(LVIS)  # its constructor reads a file
    logging.disable()
    annotated.logger = logging.getLogger()
    annotated.dataset = content
    annotated._create_index()
    evaluation = LVISEval(annotated, LVISResults(annotated, results), "bbox")
    evaluation.run()
    return float(evaluation.get_results()["AP"])


OURS = {
    "voc": Metric(arrays, voc_number),
    "coco": Metric(files, coco_number),
    "bdd100k": Metric(files, coco_number),
    "crowdhuman": Metric(arrays, crowdhuman_number),
    "openimages": Metric(arrays, openimages_number),
    "lvis-minival": Metric(files, lvis_number),
    "lvis": Metric(files, lvis_number),
}
THEIRS = {
    "coco": ("pycocotools", Metric(files, pycocotools_number)),
    "bdd100k": ("pycocotools", Metric(files, pycocotools_number)),
    "lvis-minival": ("lvis", Metric(files, lvis_package_number)),
    "lvis": ("lvis", Metric(files, lvis_package_number)),
}


def measure(name: str, size: Size, runs: int, *, alone: bool) -> None:
    data = made_up(size)
    package, their = THEIRS.get(name, ("", None))
    compared = their is not None and not alone and importlib.util.find_spec(package) is not None
    own, other = [], []
    for _ in range(runs):
        own.append(OURS[name].timed(data))
        if compared and their is not None:
            other.append(their.timed(data))
    text = (
        f"{name}: {size.images} pictures, {size.objects} objects, {len(data.score)} detections, {size.classes} classes"
    )
    text += f"; ours {statistics.median(seconds for _, seconds in own):.1f} s, {own[0][0]:.4f}"
    if other:
        seconds, differ = statistics.median(second for _, second in other), abs(own[0][0] - other[0][0])
        text += f"; {package} {seconds:.1f} s, differs by {differ:.0e}"
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SIZES)[:-1], metavar="SET", help=", ".join(SIZES))
    parser.add_argument("--images", type=int, help="fewer pictures than the set has, with objects in proportion")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the sets' packages")
    options = parser.parse_args()
    for name in options.sets:
        size = SIZES[name]
        if options.images:
            size = size._replace(images=options.images, objects=size.objects * options.images // size.images)
        measure(name, size, options.runs, alone=options.alone)


if __name__ == "__main__":
    main()
