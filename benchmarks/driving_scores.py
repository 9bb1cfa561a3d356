"""How long scores of driving take: OLS of lane graphs, and the table of voxels that mIoU is made of.

    python benchmarks/driving_scores.py --graphs 1000 --spaces 6000

Graphs are drawn roads with 100 lanes and 30 elements found, noisy copies of what is there and some that are not; spaces
are drawn ones with a tenth of the voxels wrong.  Where OpenLane-V2's own package is installed (openlanev2 2.1, whose
import needs an empty module in place of ortools' old one), its time for the first ``--official`` graphs is given too.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

from internimage.driving.data.occ3d import CLASSES, VoxelGrid
from internimage.driving.data.openlane import ATTRIBUTES, as_measured
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.metrics.occupancy import OccupancyScore
from internimage.driving.metrics.openlane.score import OpenLaneScore
from internimage.driving.world.lanes import lane_graph_of
from internimage.driving.world.painting import View
from internimage.driving.world.rig import ARGOVERSE_RIG, NUSCENES_RIG
from internimage.driving.world.scene import make_scene
from internimage.driving.world.space import SpaceOf
from internimage.machine import describe_machine

LANES, ELEMENTS = 100, 30


def noisy(truth: LaneGraph, rng: np.random.Generator) -> LaneGraph:
    """So many lanes and elements, the first of them near true ones."""
    lanes = [truth.lanes[number % max(1, len(truth.lanes))] for number in range(LANES)]
    boxes = truth.elements if len(truth.elements) else np.array([[10.0, 10.0, 20.0, 30.0]])
    return LaneGraph(
        [
            lane + rng.normal(0, 0.3 if number < len(truth.lanes) else 3.0, lane.shape)
            for number, lane in enumerate(lanes)
        ],
        rng.random(LANES),
        boxes[rng.integers(len(boxes), size=ELEMENTS)] + rng.normal(0, 3, (ELEMENTS, 4)),
        rng.integers(1, 7, ELEMENTS),
        rng.random(ELEMENTS),
        rng.random((LANES, LANES)),
        rng.random((LANES, ELEMENTS)),
    )


def graphs(count: int, rng: np.random.Generator) -> list[tuple[LaneGraph, LaneGraph]]:
    """What is there and what is found."""
    view = View(ARGOVERSE_RIG[0], 0.1)
    drawn = []
    for seed in range(50):
        scene = make_scene(seed)
        drawn.append(as_measured(lane_graph_of(scene, 0.0, view, view.painted(scene, 0.0))))
    return [(drawn[number % len(drawn)], noisy(drawn[number % len(drawn)], rng)) for number in range(count)]


def ols_seconds(pairs: list[tuple[LaneGraph, LaneGraph]]) -> tuple[float, dict[str, float]]:
    """Processor seconds, and the score."""
    begun = time.process_time()
    score = OpenLaneScore(ATTRIBUTES)
    for number, (truth, found) in enumerate(pairs):
        score.add(str(number), truth, found)
    numbers = score.compute()
    return time.process_time() - begun, numbers


def space_seconds(count: int, rng: np.random.Generator) -> tuple[float, float]:
    """Processor seconds of adding so many frames, and the mean over classes."""
    views = [View(camera, 0.1) for camera in NUSCENES_RIG]
    space, scene = SpaceOf(views, VoxelGrid()), make_scene(2)
    truth = space(scene, 0.0, [view.painted(scene, 0.0) for view in views])
    found = np.where(rng.random(truth.labels.shape) < 0.1, rng.integers(0, 18, truth.labels.shape), truth.labels)
    found = found.astype(np.uint8)
    begun, score = time.process_time(), OccupancyScore(CLASSES)
    for number in range(count):
        score.add(str(number), truth.labels, found, truth.camera)
    return time.process_time() - begun, score.compute()["miou"]


def official_seconds(pairs: list[tuple[LaneGraph, LaneGraph]]) -> dict[str, Any]:
    """openlanev2's own time and score of the same graphs; nothing where it is not installed."""
    try:
        from openlanev2.centerline.evaluation import evaluate  # type: ignore[import-not-found]
    except ImportError as error:
        return {"official": f"not measured: {error}"}
    truth: dict[Any, Any] = {}
    found: dict[Any, Any] = {}
    for number, pair in enumerate(pairs):
        for store, one, name in ((truth, pair[0], "annotation"), (found, pair[1], "predictions")):
            store[("val", "0", str(number))] = {
                name: {
                    "lane_centerline": [
                        {"id": place, "points": lane.astype(np.float32), "confidence": float(score)}
                        for place, (lane, score) in enumerate(zip(one.lanes, one.scores, strict=True))
                    ],
                    "traffic_element": [
                        {
                            "id": 1000 + place,
                            "category": 1,
                            "attribute": int(attribute),
                            "points": box.reshape(2, 2).astype(np.float32),
                            "confidence": float(score),
                        }
                        for place, (box, attribute, score) in enumerate(
                            zip(one.elements, one.attributes, one.element_scores, strict=True)
                        )
                    ],
                    "topology_lclc": one.lane_lane.astype(np.float32),
                    "topology_lcte": one.lane_element.astype(np.float32),
                }
            }
    begun = time.process_time()
    numbers = evaluate(truth, {"method": "", "results": found})
    return {"official_seconds": time.process_time() - begun, "official": str(numbers)[:400]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--spaces", type=int, default=6000)
    parser.add_argument("--official", type=int, default=50)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = graphs(options.graphs, rng)
    seconds, numbers = ols_seconds(pairs)
    print(
        json.dumps(
            {
                "ols_seconds": seconds,
                "graphs": options.graphs,
                **numbers,
                "machine": str(describe_machine(torch.device("cpu"))),
            }
        )
    )
    few = pairs[: options.official]
    ours, own = ols_seconds(few)
    print(json.dumps({"graphs": len(few), "ours_seconds": ours, "ours": own, **official_seconds(few)}))
    spent, miou = space_seconds(options.spaces, rng)
    print(json.dumps({"space_seconds": spent, "spaces": options.spaces, "miou": miou}))


if __name__ == "__main__":
    main()
