"""Metrics of benchmark sets: the stored numbers of each set's own tool, and what a set need not have."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from internimage.data.formats.sets.openimages import ancestors_in
from internimage.data.objects import Verified
from internimage.errors import DataError
from internimage.metrics.coco import Kind, average_precision
from internimage.metrics.found import Truth
from internimage.metrics.sets import openimages
from internimage.metrics.sets.crowdhuman import crowd_human_numbers
from internimage.metrics.sets.lvis import lvis_average_precision
from internimage.metrics.sets.voc import voc_precision
from internimage.structures.boxes import Found
from internimage.structures.merging import (
    FusedScore,
    non_maximum_weighted,
    soft_nms,
    weighted_boxes_fusion,
)
from internimage.structures.slicing import SliceOverlap, merge_slices, slices

SETS = Path(__file__).parent / "goldens" / "sets"
NOTHING = Truth((60, 80), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, bool))
UNFOUND = Found(np.zeros(0, int), np.zeros(0), np.zeros((0, 4)))


def read(name: str) -> Any:
    return json.loads((SETS / name).read_text())


def lines(name: str) -> list[str]:
    return (SETS / name).read_text().splitlines()


def truth(size: Sequence[int], rows: Sequence[tuple[int, Sequence[float], bool]]) -> Truth:
    """From label, box and "ignored" of each object."""
    labels, boxes, ignored = ([row[place] for row in rows] for place in range(3))
    return Truth(
        (size[0], size[1]), np.array(labels, int), np.array(boxes, float).reshape(-1, 4), np.array(ignored, bool)
    )


def found(rows: Sequence[tuple[int, float, Sequence[float]]]) -> Found:
    """From label, score and box of each detection."""
    labels, scores, boxes = ([row[place] for row in rows] for place in range(3))
    return Found(np.array(labels, int), np.array(scores, float), np.array(boxes, float).reshape(-1, 4))


def corners(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, x + width, y + height


CLASSES_OF_VOC = ("aeroplane", "bottle", "car", "dog", "person", "sheep")


def voc() -> tuple[list[Truth], list[Found]]:
    folder = SETS / "voc" / "VOCdevkit" / "VOC2007"
    rows: dict[str, list[tuple[int, float, Sequence[float]]]] = {}
    for label, name in enumerate(CLASSES_OF_VOC):
        for line in lines(f"voc/results/comp4_det_test_{name}.txt"):
            identity, score, *box = line.split()
            x1, y1, x2, y2 = map(float, box)
            rows.setdefault(identity, []).append((label, float(score), (x1 - 1, y1 - 1, x2, y2)))
    truths, founds = [], []
    for identity in (folder / "ImageSets" / "Main" / "test.txt").read_text().split():
        objects = []
        for one in ElementTree.parse(folder / "Annotations" / f"{identity}.xml").iterfind("object"):
            x1, y1, x2, y2 = (float(one.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax"))
            label = CLASSES_OF_VOC.index(one.findtext("name", ""))
            objects.append((label, (x1 - 1, y1 - 1, x2, y2), one.findtext("difficult") == "1"))
        truths.append(truth((0, 0), objects))
        founds.append(found(rows.get(identity, [])))
    return truths, founds


@pytest.mark.parametrize(
    ("rule", "golden"), [("11 points", "devkit_2007_11_points"), ("area", "devkit_2010_and_later_area")]
)
def test_voc_is_that_of_the_development_kits(rule: Any, golden: str) -> None:
    expected = read("voc/expected.json")[golden]
    result = voc_precision(*voc(), len(CLASSES_OF_VOC), rule)
    per_class = {CLASSES_OF_VOC[label]: curve.ap for label, curve in result.curves.items()}
    assert per_class == pytest.approx(expected["per_class"], abs=1e-9)
    assert result.mean == pytest.approx(expected["mAP"], abs=1e-9)


def test_crowdhuman_is_that_of_its_tool() -> None:
    sizes, expected = read("crowdhuman/image_sizes_height_width.json"), read("crowdhuman/expected.json")
    detections = {one["ID"]: one["dtboxes"] for one in map(json.loads, lines("crowdhuman/detections.odgt"))}
    truths, founds = [], []
    for one in map(json.loads, lines("crowdhuman/annotation_val.odgt")):
        rows = [
            (0, corners(*each["fbox"]), each["tag"] != "person" or each["extra"].get("ignore") == 1)
            for each in one["gtboxes"]
        ]
        truths.append(truth(sizes[one["ID"]], rows))
        founds.append(found([(0, each["score"], corners(*each["box"])) for each in detections.get(one["ID"], [])]))
    result = crowd_human_numbers(truths, founds)
    numbers = {"AP": result.ap, "MR-2": result.miss_rate, "JI": result.jaccard, "recall": result.recall}
    assert numbers == pytest.approx({name: expected[name] for name in numbers}, abs=1e-9)
    assert result.persons == expected["persons"]
    by_score = [one["mean_ratio"] for one in expected["JI_by_score"].values()]
    assert result.jaccards == pytest.approx(by_score, abs=1e-9)


NAMES, TITLES = zip(*csv.reader(lines("openimages/class-descriptions-boxable.csv")), strict=True)
KINDS = openimages.class_kinds(ancestors_in(read("openimages/bbox_labels_600_hierarchy.json"), NAMES))
NOT_LOOKED = Verified()
ALONE = np.eye(len(NAMES), dtype=bool)
SIZES = read("openimages/detections.json")["image_sizes_height_width"]


def open_images(boxes: str, labels: str) -> tuple[list[Truth], list[Verified]]:
    """What two of OpenImages' files say of each image, detected or not."""
    objects: dict[str, list[tuple[int, Sequence[float], bool]]] = {}
    verified: dict[tuple[str, str], list[int]] = {}
    for row in csv.DictReader(lines(f"openimages/{boxes}.csv")):
        box = [float(row[edge]) for edge in ("XMin", "YMin", "XMax", "YMax")]
        objects.setdefault(row["ImageID"], []).append((NAMES.index(row["LabelName"]), box, row["IsGroupOf"] == "1"))
    for row in csv.DictReader(lines(f"openimages/{labels}.csv")):
        verified.setdefault((row["ImageID"], row["Confidence"]), []).append(NAMES.index(row["LabelName"]))
    return [truth(size, objects.get(image, [])) for image, size in SIZES.items()], [
        Verified(*(frozenset(verified.get((image, sure), [])) for sure in "10")) for image in SIZES
    ]


def open_images_found() -> list[Found]:
    rows: dict[str, list[tuple[int, float, Sequence[float]]]] = {image: [] for image in SIZES}
    for one in read("openimages/detections.json")["detections"]:
        x1, x2, y1, y2 = one["box_xxyy_relative"]
        rows[one["image"]].append((one["label"], one["score"], (x1, y1, x2, y2)))
    return [found(own) for own in rows.values()]


ANNOTATED = ("validation-annotations-bbox", "validation-annotations-human-imagelabels-boxable")


def test_openimages_annotations_hold_for_ancestors() -> None:
    wide = zip(*open_images("expanded-annotations-bbox", "expanded-imagelabels"), strict=True)
    for one, verified, (objects, classes) in zip(*open_images(*ANNOTATED), wide, strict=True):
        ours = openimages.truth_of_kinds(one, KINDS)
        rows, expected = (
            sorted(zip(own.labels, own.boxes.tolist(), own.ignored, strict=True)) for own in (ours, objects)
        )
        assert rows == expected
        assert openimages.verified_of_kinds(verified, KINDS) == classes


@pytest.mark.parametrize(
    ("golden", "rule", "kinds", "looked", "tolerance"),
    [
        ("challenge_2019", "challenge", KINDS, True, 1e-9),
        ("challenge_2019_detections_also_of_ancestors", "challenge", KINDS, True, 1e-9),
        ("challenge_2019_no_hierarchy", "challenge", ALONE, True, 1e-9),
        ("open_images_v2_group_of_ignored", "v2", KINDS, True, 1e-9),
        ("mmdet_rule", "mmdet", KINDS, True, 1e-6),
        ("mmdet_rule_without_hierarchy", "mmdet", ALONE, True, 1e-6),
        ("mmdet_rule_without_image_labels", "mmdet", KINDS, False, 1e-6),
    ],
)
def test_openimages_is_that_of_tensorflow_and_mmdet(
    golden: str, rule: openimages.Rule, kinds: np.ndarray, looked: bool, tolerance: float
) -> None:
    expected = read("openimages/expected.json")["rules"][golden]
    truths, verified = open_images(*ANNOTATED)
    founds = open_images_found()
    if golden.endswith("also_of_ancestors"):
        founds = [openimages.found_of_kinds(one, kinds) for one in founds]
    if not looked:
        verified = [NOT_LOOKED] * len(truths)
    result = openimages.open_images_precision(truths, founds, verified, kinds, rule)
    per_class = {TITLES[label]: curve.ap for label, curve in result.curves.items()}
    assert per_class == pytest.approx({k: v for k, v in expected["per_class"].items() if v is not None}, abs=tolerance)
    assert result.mean == pytest.approx(expected["mAP"], abs=tolerance)
    objects = {TITLES[label]: curve.objects for label, curve in result.curves.items()}
    assert objects == {name: count for name, count in expected["ground_truths"].items() if count}


LVIS = {
    **{"AP": "ap", "AP50": "ap50", "AP75": "ap75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large"},
    **{"APr": "ap_rare", "APc": "ap_common", "APf": "ap_frequent"},
    **{"AR": "ar", "ARs": "ar_small", "ARm": "ar_medium", "ARl": "ar_large"},
}


@pytest.mark.parametrize("limit", [300, 50])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_lvis_is_that_of_its_tool(kind: Kind, limit: int) -> None:
    """Also among the 1,203 categories of the real set, of which the golden has 12."""
    expected = read("lvis/expected.json")[kind][f"max_dets_{limit}"]
    annotated, entries = read("lvis/lvis_v1_val.json"), read(f"lvis/detections_{kind}.json")
    known = {category["id"] for category in annotated["categories"]}
    annotated["categories"] += [{"id": i, "name": "", "frequency": "r"} for i in {*range(1, 1204)} - known]
    result = lvis_average_precision(annotated, entries, kind, limit)
    numbers = {LVIS[name.partition("@")[0]]: value for name, value in expected["results"].items()}
    numbers[f"ar{limit}"] = numbers.pop("ar")
    assert result.numbers() == pytest.approx(numbers, abs=1e-9)
    for category, value in expected["ap_per_category"].items():
        assert result.evaluated.of_category(int(category)).get("ap") == (value and pytest.approx(value, abs=1e-9))
    assert (annotated["annotations"], entries) == (
        read("lvis/lvis_v1_val.json")["annotations"],
        read(f"lvis/detections_{kind}.json"),
    )
    with pytest.raises(DataError, match="detections in image 7, which is not among the 14 annotated ones"):
        lvis_average_precision(annotated, [*entries, {**entries[0], "image_id": 7}], kind)


CROWDS_OF_BDD100K = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
BDD100K = {
    **{"AP": "ap", "AP50": "ap50", "AP75": "ap75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large"},
    **{"AR1": "ar1", "AR10": "ar10", "AR100": "ar100", "ARs": "ar_small", "ARm": "ar_medium", "ARl": "ar_large"},
}


def test_coco_average_precision_of_wider_boxes_is_that_of_bdd100k() -> None:
    """The last pixel is inside; classes that are not evaluated are crowds of the nearest one."""
    expected = read("bdd100k/expected.json")
    number = {name: identity for identity, name in expected["categories"]}

    def entries(name: str) -> list[dict[str, Any]]:
        found = []
        for image, frame in enumerate(read(f"bdd100k/{name}.json"), 1):
            for label in frame["labels"] or ():
                category, box = label["category"], label["box2d"]
                width, height = (box[f"{axis}2"] - box[f"{axis}1"] + 1 for axis in "xy")
                crowd = category in CROWDS_OF_BDD100K or label.get("attributes", {}).get("crowd", False)
                own = {"image_id": image, "category_id": number[CROWDS_OF_BDD100K.get(category, category)]}
                shape = {"bbox": [box["x1"], box["y1"], width, height], "area": width * height}
                found.append({**own, **shape, "iscrowd": int(crowd), "score": label.get("score")})
        return found

    images = [{"id": image + 1, "height": 720, "width": 1280} for image in range(expected["images"])]
    annotated = {"images": images, "annotations": entries("det_val"), "categories": [{"id": i + 1} for i in range(10)]}
    result = average_precision(annotated, entries("detections"), "bbox")
    numbers = {name: 100 * result.numbers()[ours] for name, ours in BDD100K.items()}
    numbers |= {f"AP/{name}": 100 * result.of_category(identity)["ap"] for name, identity in number.items()}
    assert numbers == pytest.approx(expected["summary"], abs=1e-9)


VIEWS = read("tta/expected.json")
FUSIONS: dict[str, Any] = {
    **{f"wbf_0.55_{rule}": rule for rule in ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")},
    **{"wbf_0.55_avg_overflow": "avg", "nmw_0.55": None},
}


def views(case: int) -> list[Found]:
    return [
        found(list(zip(view["labels"], view["scores"], view["boxes"], strict=True)))
        for view in VIEWS["fusion"][case]["views"]
    ]


@pytest.mark.parametrize("golden", FUSIONS)
@pytest.mark.parametrize("case", range(3))
def test_fused_boxes_are_those_of_ensemble_boxes(case: int, golden: str) -> None:
    weights, expected = VIEWS["fusion"][case]["weights"], VIEWS["fusion"][case]["expected"][golden]
    rule = FUSIONS[golden]
    if rule is None:
        fused = non_maximum_weighted(views(case), weights, minimum=0.1)
    else:
        fused = weighted_boxes_fusion(
            views(case), weights, minimum=0.1, score=rule, overflow=golden.endswith("overflow")
        )
    assert fused.labels.tolist() == expected["labels"]
    assert fused.scores == pytest.approx(np.array(expected["scores"]), abs=1e-6)
    assert fused.boxes == pytest.approx(np.array(expected["boxes"]), abs=1e-6)


@pytest.mark.parametrize(
    ("rule", "overflow", "score"),
    [
        ("avg", False, 4.2 / 4 * 3 / 4),
        ("avg", True, 4.2 / 4 * 4 / 4),
        ("max", False, 1.6 / 2),
        ("box_and_model_avg", False, 4.2 / 7 * 3 / 4),
        ("absent_model_aware_avg", False, 4.2 / (7 + 1)),
    ],
)
def test_a_view_may_find_an_object_again_and_another_miss_it(rule: FusedScore, overflow: bool, score: float) -> None:
    """Weights 2, 1, 1; scores times weights 1.6, 1.2, 1.0 of the first view, 0.4 of the second."""
    box = (0.1, 0.1, 0.5, 0.5)
    seen = [found([(0, one, box) for one in (0.8, 0.6, 0.5)]), found([(0, 0.4, box)]), UNFOUND]
    fused = weighted_boxes_fusion(seen, [2, 1, 1], score=rule, overflow=overflow)
    assert fused.scores == pytest.approx([score])
    assert fused.boxes == pytest.approx(np.array([box]))


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("case", range(3))
def test_soft_nms_lowers_scores_by_its_formula(case: int, method: Any) -> None:
    expected = VIEWS["fusion"][case]["expected"]["soft_nms_iou_0.5_sigma_0.5_threshold_0.001"][method]
    places, scores = soft_nms(Found(*map(np.concatenate, zip(*views(case), strict=True))), method)
    assert places.tolist() == [one["index"] for one in expected]
    assert scores == pytest.approx(np.array([one["score"] for one in expected]), abs=1e-8)


@pytest.mark.parametrize("case", VIEWS["slicing"], ids=lambda case: f"{case['height']}x{case['width']}")
def test_slices_are_those_of_sahi(case: dict[str, Any]) -> None:
    size, window, overlap = ((case[f"{name}height"], case[f"{name}width"]) for name in ("", "slice_", "overlap_"))
    assert slices(size, window, overlap).tolist() == case["slices_xyxy"]


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("measure", ["iou", "ios"])
@pytest.mark.parametrize("case", range(2))
def test_merged_slices_are_those_of_sahi(case: int, measure: SliceOverlap, per_class: bool) -> None:
    data = VIEWS["slice_merging"][case]
    expected = data["expected_xyxy_score_label"][f"greedy_nmm_{measure.upper()}_{'per' if per_class else 'any'}_class"]
    merged = merge_slices(
        found([(one["label"], one["score"], one["box"]) for one in data["predictions"]]), measure, per_class=per_class
    )
    rows = np.column_stack([merged.boxes, merged.scores, merged.labels])
    assert rows == pytest.approx(np.array(expected), abs=1e-9)


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_to_find_is_no_number(images: int) -> None:
    """A detection where nothing is annotated, or no image at all."""
    truths, founds = [NOTHING] * images, [found([(1, 0.5, (0, 0, 10, 10))])] * images
    verified = [NOT_LOOKED] * images
    for result in (
        voc_precision(truths, founds, 3, "area"),
        openimages.open_images_precision(truths, founds, verified, np.eye(3, dtype=bool)),
    ):
        assert not result.curves
        assert np.isnan(result.mean)
    assert np.isnan(crowd_human_numbers(truths, founds).ap)


@pytest.mark.parametrize("images", [1, 2])
def test_nothing_found_is_zero(images: int) -> None:
    truths, founds = [truth((60, 80), [(1, (0, 0, 10, 20), False)])] * images, [UNFOUND] * images
    verified = [NOT_LOOKED] * images
    rules: list[Any] = ["area", "11 points"]
    for rule in rules:
        assert voc_precision(truths, founds, 3, rule).curves[1].ap == 0
    assert openimages.open_images_precision(truths, founds, verified, np.eye(3, dtype=bool)).mean == 0
    numbers = crowd_human_numbers(truths, founds)
    assert (numbers.ap, numbers.miss_rate, numbers.jaccard, numbers.persons) == (0, 1, 0, images)
    fused = weighted_boxes_fusion([UNFOUND], [1])
    assert len(fused.labels) == len(merge_slices(UNFOUND).labels) == len(soft_nms(UNFOUND)[0]) == 0
