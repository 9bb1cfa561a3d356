"""What a network of lanes or maps has to beat: the best prediction that is the same for every frame.

    internimage data world lanes/ --of lanes
    python benchmarks/driving_constant.py topology lanes/ --model runs/lanes/best
    internimage data world roads/
    python benchmarks/driving_constant.py online_map roads/ --model runs/map/best

Constants are taken from training frames.  "best": of lines and boxes that are there in any of them, one after the other
the one that most frames have and none of those before it is near.  "mean": as many as a frame has on average, the
centres of k-means.  Their scores are the shares of frames that have one near; what belongs together is the mean over
the frames that have both.  Prints a JSON line: scores of the constants and of the network, and its ratios to them.
DET_t is also given over the attributes that the measured frames show ("det_t_shown"): the official mean counts 100 %
for what is neither there nor found, which no prediction can be three times as good as.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.cluster.vq import kmeans2  # type: ignore[import-untyped]

import internimage
from internimage.driving.data.openlane import as_measured
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.vector_map import VectorMap, evenly_spaced
from internimage.driving.metrics.openlane.distances import box_distances, lane_distances
from internimage.driving.metrics.openlane.matching import NONE, match
from internimage.driving.metrics.openlane.score import OpenLaneScore
from internimage.driving.metrics.polylines import VectorMapScore, chamfer_distances
from internimage.driving.online_map import reading as maps
from internimage.driving.topology import reading as lanes
from internimage.machine import describe_machine
from internimage.settings.data import DataOptions

CANDIDATES, FRAMES, MOST = 300, 250, 40
_LANE, _BOX, _LINE = 2.0, 0.75, 1.0  # near: metres of Frechet, one minus the overlap, metres of Chamfer

_POINTS = 20  # of a line in a mean

Distances = Callable[[Sequence[Any], Sequence[Any]], Any]


def lane_distance(truth: Sequence[Any], found: Sequence[Any]) -> Any:
    """(G, P) metres."""
    return lane_distances(truth, found, 3.0, closed_twice=False)


def box_distance(truth: Sequence[Any], found: Sequence[Any]) -> Any:
    """(G, P) one minus the overlap."""
    return box_distances(np.array(truth).reshape(-1, 4), np.array(found).reshape(-1, 4))


def best_constant(frames: Sequence[Sequence[Any]], distance: Distances, near: float, rng: Any) -> tuple[list[Any], Any]:
    """Things that most frames have, and the share of frames that has one near each."""
    every = [thing for frame in frames for thing in frame]
    if not every:
        return [], np.zeros(0)
    chosen = [every[number] for number in rng.permutation(len(every))[:CANDIDATES]]
    has = np.array(
        [(distance(frame, chosen) < near).any(0) if len(frame) else np.zeros(len(chosen)) for frame in frames]
    )
    apart = distance(chosen, chosen)
    left = np.ones(len(chosen), bool)
    picked: list[int] = []
    while left.any() and len(picked) < MOST:
        best = int(np.where(left, has.sum(0), -1).argmax())
        picked.append(best)
        left &= (apart[best] >= near) & (np.arange(len(chosen)) != best)
    return [chosen[number] for number in picked], has[:, picked].mean(0)


def mean_constant(frames: Sequence[Sequence[Any]], distance: Distances, near: float, rng: Any) -> tuple[list[Any], Any]:
    """Centres of as many clusters as a frame has things on average, and the share of frames that has one near each."""
    every = np.array([_placed(thing) for frame in frames for thing in frame])
    count = round(len(every) / len(frames)) or min(1, len(every))
    if not count:
        return [], np.zeros(0)
    centres, _ = kmeans2(every.reshape(len(every), -1), count, minit="++", rng=rng)
    means = list(centres.reshape(count, *every.shape[1:]))
    has = [(distance(frame, means) < near).any(0) if len(frame) else np.zeros(count) for frame in frames]
    return means, np.mean(has, axis=0)


def _placed(thing: Any) -> Any:
    """A box or lane as it is; a line of any direction with as many points as all others, from its lesser end."""
    if np.shape(thing)[-1] != 2:
        return thing
    points = evenly_spaced(np.asarray(thing), _POINTS)
    return points if tuple(points[0]) <= tuple(points[-1]) else points[::-1]


CONSTANTS = {"best": best_constant, "mean": mean_constant}


def constant_graph(graphs: Sequence[LaneGraph], choose: Any, rng: Any) -> LaneGraph:
    """The constant of lanes, elements of each attribute, and what belongs together."""
    curves, scores = choose([graph.lanes for graph in graphs], lane_distance, _LANE, rng)
    boxes: list[Any] = []
    shares: list[float] = []
    attributes: list[int] = []
    for attribute in sorted({int(one) for graph in graphs for one in graph.attributes}):
        own, of_frames = choose(
            [list(graph.elements[graph.attributes == attribute]) for graph in graphs], box_distance, _BOX, rng
        )
        boxes, shares, attributes = boxes + own, shares + of_frames.tolist(), attributes + [attribute] * len(own)
    pairs, both = np.zeros((2, len(curves), len(curves))), np.zeros((2, len(curves), len(boxes)))
    for graph in graphs:
        mine = match(lane_distance(graph.lanes, curves), scores, _LANE)
        theirs = match(box_distance(list(graph.elements), boxes), np.array(shares), _BOX)
        for table, truth, columns in ((pairs, graph.lane_lane, mine), (both, graph.lane_element, theirs)):
            rows, others = np.flatnonzero(mine != NONE), np.flatnonzero(columns != NONE)
            table[1][np.ix_(rows, others)] += 1
            table[0][np.ix_(rows, others)] += truth[np.ix_(mine[rows], columns[others])]
    lane_lane, lane_element = (table[0] / np.maximum(table[1], 1) for table in (pairs, both))
    return LaneGraph(
        curves,
        scores,
        np.array(boxes).reshape(-1, 4),
        np.array(attributes, np.int64),
        np.array(shares),
        lane_lane,
        lane_element,
    )


def sampled(part: Any, rng: Any) -> list[Any]:
    """Some frames of a part."""
    places = rng.permutation(len(part))[:FRAMES]
    return [part.frames[int(place)] for place in places]


def topology(data: Path, model: Path, rng: Any) -> dict[str, dict[str, float]]:
    """Scores of the constants, and of the network."""
    parts = lanes.read_parts(data, None, DataOptions())
    train, val = parts["train"], parts["val"]
    report: Any = internimage.evaluate(data, model, part="val")
    scores = {"network": report.scores["2.1"]}
    seen = [as_measured(train.graph_of(frame)) for frame in sampled(train, rng)]
    for name, choose in CONSTANTS.items():
        scores[name] = OpenLaneScore(val.classes)
        constant = constant_graph(seen, choose, rng)
        for frame in val.frames:
            scores[name].add(frame.token, as_measured(val.graph_of(frame)), constant)
    shown = sorted({int(one) for frame in val.frames for one in val.graph_of(frame).attributes})
    found = {}
    for name, score in scores.items():
        precisions = list(score.element_precisions().values())
        found[name] = {**score.compute(), "det_t_shown": float(np.mean([precisions[label] for label in shown]))}
    return found


def online_map(data: Path, model: Path, rng: Any) -> dict[str, dict[str, float]]:
    """The same of maps."""
    parts = maps.read_parts(data, None, DataOptions())
    train, val = parts["train"], parts["val"]
    truths = [train.map_of(frame) for frame in sampled(train, rng)]
    found = {"network": internimage.evaluate(data, model, part="val").compute()}
    for name, choose in CONSTANTS.items():
        constant = constant_map(truths, len(train.classes), choose, rng)
        score = VectorMapScore(val.classes)
        for frame in val.frames:
            score.add(frame.token, val.map_of(frame), constant)
        found[name] = score.compute()
    return found


def constant_map(truths: Sequence[VectorMap], classes: int, choose: Any, rng: Any) -> VectorMap:
    """The constant of lines of each class."""
    lines: list[Any] = []
    scores: list[float] = []
    labels: list[int] = []
    for label in range(classes):
        own, shares = choose(
            [[line for line, kind in zip(one.lines, one.labels, strict=True) if kind == label] for one in truths],
            chamfer_distances,
            _LINE,
            rng,
        )
        lines, scores, labels = lines + own, scores + shares.tolist(), labels + [label] * len(own)
    return VectorMap(lines, np.array(labels, np.int64), np.array(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("topology", "online_map"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measure = {"topology": topology, "online_map": online_map}[options.task]
    found = measure(options.data, options.model, np.random.default_rng(options.seed))
    ratios = {
        f"to the {kind}": {
            name: found["network"][name] / value for name, value in found[kind].items() if value and name != "frames"
        }
        for kind in CONSTANTS
    }
    row = {"task": options.task, **found, "ratios": ratios}
    print(json.dumps({**row, "machine": str(describe_machine(torch.device("cpu")))}))


if __name__ == "__main__":
    main()
