"""Lanes, lights and signs of the drawn world as OpenLane-V2 records them."""

from __future__ import annotations

import numpy as np

from internimage.driving.data.openlane import ATTRIBUTES
from internimage.driving.geometry.lane_graph import LaneGraph
from internimage.driving.geometry.poses import Array, Pose
from internimage.driving.world.painting import Painting, View
from internimage.driving.world.scene import Scene
from internimage.driving.world.things import Cuboid

REACH = (50.0, 25.0)
"""Metres ahead and behind, and to either side, in which lanes are recorded."""

_FINE = 4001  # points of a lane before it is cut
_SEEN = 0.95  # of what an element would show alone
_SAYS = {"straight": "go_straight", "left": "turn_left", "right": "turn_right"}
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def lane_graph_of(scene: Scene, time: float, view: View, painting: Painting, points: int = 201) -> LaneGraph:
    """What is true around the vehicle at a time in seconds.

    Lanes are cut at ``REACH``, of several parts the longest stays; elements count that the front camera sees whole.

    Args:
        scene: drawn.
        time: in seconds.
        view, painting: the front camera, and what it saw then.
        points: of each lane.
    """
    ego = scene.ego.pose(time)
    lanes: list[Array] = []
    numbers: dict[int, int] = {}
    for number, lane in enumerate(scene.road.lanes):
        part = _cut(ego.inverse(lane.points(_FINE)))
        if part is not None:
            numbers[number] = len(lanes)
            places = np.linspace(0, len(part) - 1, points).round().astype(np.int64)
            lanes.append(part[places])
    follows = np.zeros((len(lanes), len(lanes)))
    for number, row in numbers.items():
        for after in scene.road.lanes[number].successors:
            if after in numbers:
                follows[row, numbers[after]] = 1
    boxes, says, governed = [], [], []
    for place, element in enumerate(scene.elements):
        owner = len(scene.things) + place
        box = _box(element.cuboid, ego, view)
        alone = painting.outlines[owner]
        if box is not None and alone and (painting.owner == owner).sum() >= _SEEN * alone:
            boxes.append(box)
            says.append(ATTRIBUTES.index(_SAYS.get(element.says, element.says)))
            governed.append(numbers.get(element.lane))
    relations = np.zeros((len(lanes), len(boxes)))
    for column, lane_number in enumerate(governed):
        if lane_number is not None:
            relations[lane_number, column] = 1
    return LaneGraph(
        lanes,
        np.ones(len(lanes)),
        np.array(boxes).reshape(-1, 4),
        np.array(says, np.int64),
        np.ones(len(boxes)),
        follows,
        relations,
    )


def _cut(points: Array) -> Array | None:
    """The longest run of points within reach; None where there is none."""
    inside = (np.abs(points[:, :2]) <= REACH).all(1)
    edges = np.diff(np.concatenate([[0], inside.astype(np.int64), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    part = points[starts[longest] : ends[longest]]
    return part if len(part) > 1 else None


def _box(cuboid: Cuboid, ego: Pose, view: View) -> Array | None:
    """Left, top, right, bottom in the picture of a cuboid that is whole in it; None for others."""
    width, length, height = cuboid.size
    local = _CORNERS * (length, width, height)
    c, s = np.cos(cuboid.yaw), np.sin(cuboid.yaw)
    turned = np.stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], local[:, 2]], axis=1)
    seen = view.camera.pose.inverse(ego.inverse(turned + cuboid.centre))
    if seen[:, 2].min() <= 1.0:
        return None
    pixels = seen @ view.intrinsic.T
    places = pixels[:, :2] / pixels[:, 2:]
    rows, columns = view.size
    low, high = places.min(0), places.max(0)
    if low.min() < 0 or high[0] > columns or high[1] > rows:
        return None
    return np.concatenate([low, high])
