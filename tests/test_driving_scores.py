"""Scores of the driving challenges against the official ones, worked examples and plain definitions."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.vector_map import VectorMap
from internimage.driving.metrics.longitudinal import (
    LongitudinalScore,
    WaymoBoxes,
    affinities,
    ious,
    tolerant_ious,
)
from internimage.driving.metrics.occupancy import OccupancyScore
from internimage.driving.metrics.openlane.distances import FAR, lane_distances
from internimage.driving.metrics.openlane.score import OpenLaneScore
from internimage.driving.metrics.polylines import THRESHOLDS, VectorMapScore, chamfer_distances, resampled
from internimage.errors import DataError

GOLDENS = Path(__file__).parent / "goldens"
SCORES = json.loads(gzip.decompress((GOLDENS / "driving_scores.json.gz").read_bytes()))
LANES, MAPS, LET = SCORES["openlane"], SCORES["hdmap"], SCORES["let"]
ATTRIBUTES = tuple(LANES["2.1"]["perfect"]["AP_traffic_by_attribute"])
KINDS = ("vehicle", "pedestrian", "cyclist")


def graph(given: dict[str, Any]) -> LaneGraph:
    lanes, elements = given["lane_centerline"], given["traffic_element"]
    return LaneGraph(
        [np.array(lane["points"]) for lane in lanes],
        np.array([lane.get("confidence", 1.0) for lane in lanes]),
        np.array([one["points"] for one in elements]).reshape(-1, 4),
        np.array([one["attribute"] for one in elements], int),
        np.array([one.get("confidence", 1.0) for one in elements]),
        np.array(given["topology_lclc"], float).reshape(len(lanes), len(lanes)),
        np.array(given["topology_lcte"], float).reshape(len(lanes), len(elements)),
    )


def by_score(found: LaneGraph) -> LaneGraph:
    return found.order(*(np.argsort(-scores, kind="stable") for scores in (found.scores, found.element_scores)))


def frames(name: str) -> Iterator[tuple[str, LaneGraph, LaneGraph]]:
    rows = LANES["sets"][name]
    if isinstance(rows, dict):
        yield from ((token, truth, by_score(found)) for token, truth, found in frames(rows["derived_from"]))
        return
    for row in rows:
        truth = row["ground_truth"]
        if "same_as" in truth:
            other, place = truth["same_as"]
            truth = LANES["sets"][other][place]["ground_truth"]
        yield str(row["token"]), graph(truth), graph(row["predictions"])


def scored(name: str, version: Any, change: Any = lambda found: found) -> OpenLaneScore:
    score = OpenLaneScore(ATTRIBUTES, version)
    for token, truth, found in frames(name):
        score.add(token, truth, change(found))
    return score


@pytest.mark.parametrize("version", ["1.0", "2.1"])
@pytest.mark.parametrize("name", LANES["sets"])
def test_lane_graphs_score_as_openlane_v2_says(name: str, version: Any) -> None:
    score, wanted = scored(name, version), LANES[version][name]
    found = score.compute()
    for mine, other in (("ols", "OLS"), *((one, one.upper()[:4] + one[4:]) for one in ("det_l", "det_t"))):
        assert found[mine] == pytest.approx(wanted[other], abs=1e-6)
    assert [found["top_ll"], found["top_lt"]] == pytest.approx([wanted["TOP_ll"], wanted["TOP_lt"]], abs=1e-6)
    assert score.lane_precisions() == pytest.approx(wanted["AP_lane_1_2_3"], abs=1e-6)
    assert score.element_precisions() == pytest.approx(wanted["AP_traffic_by_attribute"], abs=1e-6)


def test_lanes_listed_in_another_order_with_their_pairs_score_the_same() -> None:
    numbers = np.random.default_rng(0)

    def mixed(found: LaneGraph) -> LaneGraph:
        return found.order(numbers.permutation(len(found.lanes)), numbers.permutation(len(found.elements)))

    for name in ("noisy", "heavy_errors"):
        assert scored(name, "2.1", mixed).compute() == pytest.approx(scored(name, "2.1").compute(), abs=1e-12)


def test_processes_together_score_as_one() -> None:
    whole, parts = scored("noisy", "2.1"), [OpenLaneScore(ATTRIBUTES), OpenLaneScore(ATTRIBUTES)]
    for number, frame in enumerate(frames("noisy")):
        parts[number % 2].add(*frame)
    parts[0].merge([one.state() for one in parts])
    assert parts[0].compute() == pytest.approx(whole.compute(), abs=1e-12)


def frechet_by_definition(one: Any, other: Any) -> float:
    """The recursion of Eiter and Mannila, from the end."""
    away = np.linalg.norm(one[:, None] - other[None], axis=2)

    def reach(row: int, column: int) -> float:
        before = [
            reach(*place) for place in ((row - 1, column), (row - 1, column - 1), (row, column - 1)) if min(place) >= 0
        ]
        return max(min(before, default=0.0), away[row, column])

    return reach(len(one) - 1, len(other) - 1)


def test_distances_of_lanes_are_those_of_the_definition() -> None:
    numbers = np.random.default_rng(1)
    truth, found = ([numbers.normal(0, 2, (count, 3)) for count in counts] for counts in ((3, 5, 4), (6, 2)))
    truth[2] = np.concatenate([truth[2], truth[2][:1]])  # closed
    away = lane_distances(truth, found, FAR, closed_twice=False)
    for row, one in enumerate(truth):
        factor = max(0.5, 1 - 0.005 * np.linalg.norm(one, axis=1).min())
        for column, other in enumerate(found):
            assert away[row, column] == pytest.approx(factor * frechet_by_definition(one, other))
    for pair in LANES["1.0"]["__distances__"]:
        one, other = np.array(pair["gt"]), np.array(pair["pred"])
        for below, result in ((1e-6, FAR), (-1e-6, pair["frechet_relaxed"])):  # on either side of the mean distance
            within = pair["chamfer_relaxed"] - below
            assert lane_distances([one], [other], within, closed_twice=True)[0, 0] == pytest.approx(result, abs=1e-9)


def maps(given: list[dict[str, Any]]) -> VectorMap:
    return VectorMap(
        [np.array(one["pts"], float).reshape(-1, 2) for one in given],
        np.array([one["type"] for one in given], int),
        np.array([one.get("score", 1.0) for one in given]),
    )


def test_vector_maps_score_as_worked_out() -> None:
    for row in MAPS["resample"]:
        assert resampled(np.array(row["line"])) == pytest.approx(np.array(row["points"]), abs=1e-12)
    for pair in MAPS["chamfer_pairs"]:
        found = chamfer_distances([np.array(pair["b"])], [np.array(pair["a"])])
        assert found[0, 0] == pytest.approx(pair["chamfer"], abs=1e-12)
    score = VectorMapScore(MAPS["classes"])
    for number, scene in enumerate(MAPS["scenes"]):
        score.add(str(number), maps(scene["gt"]), maps(scene["pred"]))
    for name, row in MAPS["expected"]["ap"].items():
        for threshold in THRESHOLDS:
            assert score.precisions()[name][threshold] == pytest.approx(row[str(threshold)], abs=1e-9)
    assert score.compute()["map"] == pytest.approx(MAPS["expected"]["map"], abs=1e-9)


def waymo(given: list[dict[str, Any]]) -> WaymoBoxes:
    return WaymoBoxes(
        np.array([one["box"] for one in given], float).reshape(-1, 7),
        np.array([KINDS.index(one["class"]) for one in given], int),
        np.array([one.get("score", 1.0) for one in given]),
    )


@pytest.mark.parametrize(
    "case",
    [*({"gt": LET["by_hand"]["gt"], **case} for case in LET["by_hand"]["cases"]), *LET["pairs"]],
    ids=lambda case: case.get("name", ""),
)
def test_what_is_forgiven_along_the_line_of_sight(case: dict[str, Any]) -> None:
    truth, found = np.array([case["gt"]], float), np.array([case["pred"]], float)
    for number, name in ((affinities(truth, found), "affinity"), (tolerant_ious(truth, found), "let_iou")):
        assert number[0, 0] == pytest.approx(case[name], abs=1e-9)
    assert ious(truth, found)[0] == pytest.approx(case["iou3d"], abs=1e-9)


def test_boxes_score_as_waymo_says() -> None:
    score = LongitudinalScore(KINDS)
    for number, frame in enumerate(LET["frames"]):
        score.add(str(number), waymo(frame["gt"]), waymo(frame["pred"]))
    found = score.compute()
    for label, name in enumerate(KINDS):
        wanted = LET["expected"]["let"][name]
        for curve, key in zip(score.curves(label), ("precision", "precision_l", "recall"), strict=True):
            assert curve[::10] == pytest.approx(wanted[key], abs=1e-9)
        assert found[f"let_3d_ap_{name}"] == pytest.approx(wanted["ap"], abs=1e-9)
        assert found[f"let_3d_apl_{name}"] == pytest.approx(wanted["apl"], abs=1e-9)


@pytest.fixture(scope="module")
def grids() -> dict[str, Any]:
    with np.load(GOLDENS / "driving_occupancy.npz") as stored:
        found = {name: stored[name] for name in stored.files}
    for name in [name for name in found if name.endswith(".packed")]:
        shape = found[name.replace("packed", "shape")]
        found[name.removesuffix(".packed")] = np.unpackbits(found[name])[: shape.prod()].reshape(shape).astype(bool)
    return found


@pytest.mark.parametrize("seen", ["camera", "lidar", "none"])
@pytest.mark.parametrize("distance", [None, 0.6, 0.81])
def test_occupied_space_scores_as_the_challenge_says(seen: str, distance: float | None, grids: dict[str, Any]) -> None:
    meta = json.loads(str(grids["meta_json"]))
    score = OccupancyScore(tuple(map(str, range(18))), distance)
    for number in range(3):
        volume = f"vol{number}"
        mask = None if seen == "none" else grids[f"{volume}.mask_{seen}"]
        score.add(volume, grids[f"{volume}.gt"], grids[f"{volume}.pred"], mask)
    assert (score.confusion == grids[f"miou.{seen}.18.hist"]).all()
    assert list(score.ious().values()) == pytest.approx(list(grids[f"miou.{seen}.18.iou_f64"]), abs=1e-9, nan_ok=True)
    found = score.compute()
    assert found["miou"] == pytest.approx(meta[f"{seen}.18"]["mIoU_over_all_but_last"], abs=1e-9)
    if wanted := meta.get(f"fscore.{seen}.{distance}"):
        near = [found[name] for name in ("accuracy", "completeness", "f1")]
        assert near == pytest.approx([wanted[name] for name in ("acc", "completeness", "f1")], abs=1e-9)


def test_what_is_true_scores_one(grids: dict[str, Any]) -> None:
    lanes = OpenLaneScore(ATTRIBUTES)
    for token, truth, _ in frames("noisy"):
        lanes.add(token, truth, truth)
    assert lanes.compute()["ols"] == 1
    lines, boxes = VectorMapScore(MAPS["classes"]), LongitudinalScore(KINDS)
    for number, scene in enumerate(MAPS["scenes"]):
        lines.add(str(number), maps(scene["gt"]), maps(scene["gt"]))
    for number, frame in enumerate(LET["frames"]):
        boxes.add(str(number), waymo(frame["gt"]), waymo(frame["gt"]))
    space = OccupancyScore(tuple(map(str, range(18))), 0.6)
    space.add("0", grids["vol0.gt"], grids["vol0.gt"])
    assert lines.compute()["map"] == pytest.approx(1)
    assert boxes.compute()["let_3d_apl"] == pytest.approx(1)
    assert (space.compute()["miou"], space.compute()["f1"]) == pytest.approx((1, 1))


TRUTH = next(frames("noisy"))[1]
SMALL = np.zeros((2, 2, 2), np.uint8)
LINE = np.array([[0.0, 0.0], [1.0, 0.0]])
BOX = np.array([[1.0, 2, 3, 4, 2, 1, 0]])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: OpenLaneScore(ATTRIBUTES).add("a", TRUTH, replace(TRUTH, scores=np.ones(2))), r"scores is of \(2,\)"),
        (lambda: OpenLaneScore(ATTRIBUTES).add("a", TRUTH, LaneGraph([LINE], np.ones(1))), "lane_lane is of"),
        (lambda: replace(TRUTH, lanes=[lane * np.nan for lane in TRUTH.lanes]).checked("x"), "x: lane 0 has numbers"),
        (lambda: OccupancyScore("abc").add("a", SMALL, SMALL[:1]), "expected the same"),
        (lambda: OccupancyScore("abc").add("a", SMALL, SMALL + 3), "up to 3; expected 0 to 2"),
        (
            lambda: VectorMapScore("ab").add("a", VectorMap([LINE], np.array([2]), np.ones(1)), maps([])),
            "labels from 2",
        ),
        (lambda: LongitudinalScore(("tram",)), "no overlap is known for tram"),
        (
            lambda: LongitudinalScore(KINDS).add("a", WaymoBoxes(BOX, np.array([0]), np.ones(1)), waymo_of(-BOX)),
            "a size of -4",
        ),
    ],
)
def test_what_cannot_be_scored_is_said(act: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        act()


def waymo_of(boxes: Any) -> WaymoBoxes:
    return WaymoBoxes(boxes, np.zeros(len(boxes), int), np.ones(len(boxes)))
