"""Scenes of the drawn world as a data set in the layout of OpenLane-V2, seen by the seven cameras of Argoverse 2."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from internimage.driving.data.openlane import annotation_of
from internimage.driving.geometry.poses import Pose
from internimage.driving.world.lanes import lane_graph_of
from internimage.driving.world.painting import View
from internimage.driving.world.rig import ARGOVERSE_RIG
from internimage.driving.world.scene import FRAME_SECONDS, Scene, make_scene
from internimage.driving.world.tables import microseconds, scene_name
from internimage.driving.world.writing import DEFAULT_SCENES, check_wishes, empty_folder, write_file
from internimage.writing import counted, write_text

_QUALITY = 92
_README = """A small drawn world of lanes
============================

Everything here was drawn by a program: roads, cuboids that stand for vehicles and people, traffic lights and signs,
seven cameras, of which the first stands upright.  It is laid out as OpenLane-V2 is (PART/SEGMENT/info and
PART/SEGMENT/image), so that what reads, trains on and measures OpenLane-V2 can be tried on it in minutes.

It proves that the parts fit together.  It stands for no benchmark: a number that was measured here says
nothing about real streets, and is not to be compared with any number that was measured on real data.
"""


def write_lanes(
    root: Path,
    scenes: Mapping[str, Sequence[int]] = DEFAULT_SCENES,
    *,
    frames: int = 4,
    width: int = 400,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Draw scenes into a new or empty folder.

    Args:
        root: the folder.
        scenes: seeds (0 to 9999) by name of the part; no seed twice.
        frames: of each scene, every half second, at most 21.
        width: of the pictures that lie, in pixels; the one that stands has it as its height.
        progress: is told how many scenes of how many are done.

    Returns:
        What was written, as a line.

    Raises:
        ConfigError: numbers that do not fit.
        DataError: the folder holds something.
        FileWriteError: the disk is full or not writable.
    """
    check_wishes(scenes, frames, width)
    root = empty_folder(root)
    views = [View(camera, width / max(camera.size)) for camera in ARGOVERSE_RIG]
    total, lanes, elements = sum(map(len, scenes.values())), 0, 0
    done = 0
    for part, seeds in scenes.items():
        for seed in seeds:
            for number in range(frames):
                found = _write_frame(root, part, make_scene(seed), number, views)
                lanes, elements = lanes + found[0], elements + found[1]
            done += 1
            if progress is not None:
                progress(done, total)
    write_text(root / "README.txt", _README)
    parts = ", ".join(f"{len(seeds)} {part}" for part, seeds in scenes.items())
    return (
        f"{root}: {counted(total, 'drawn scene')} ({parts}), {counted(total * frames, 'frame')} with "
        f"{counted(len(views), 'camera')}, {lanes} lanes, {elements} traffic elements"
    )


def _write_frame(root: Path, part: str, scene: Scene, number: int, views: Sequence[View]) -> tuple[int, int]:
    """A record and its pictures, the record last; how many lanes and elements it has."""
    time, segment = number * FRAME_SECONDS, scene_name(scene.seed)
    stamp = microseconds(scene.seed, time)
    folder, sensors, graph = f"{part}/{segment}", {}, None
    for view in views:
        painting, channel = view.painted(scene, time), view.camera.channel
        path = f"{folder}/image/{channel}/{stamp}.jpg"
        content = io.BytesIO()
        Image.fromarray(painting.pixels).save(content, "JPEG", quality=_QUALITY)
        write_file(root / path, content.getvalue())
        sensors[channel] = {
            "image_path": path,
            "extrinsic": _pose(view.camera.pose),
            "intrinsic": {"K": view.intrinsic.tolist(), "distortion": [0.0, 0.0, 0.0]},
        }
        if graph is None:
            graph = lane_graph_of(scene, time, view, painting)
    assert graph is not None
    record = {
        "version": "drawn",
        "segment_id": segment,
        "meta_data": {"source": "drawn", "source_id": segment},
        "timestamp": stamp,
        "sensor": sensors,
        "pose": _pose(scene.to_global @ scene.ego.pose(time)),
        "annotation": annotation_of(graph),
    }
    write_file(root / folder / "info" / f"{stamp}.json", msgspec.json.encode(record))
    return len(graph.lanes), len(graph.elements)


def _pose(pose: Pose) -> dict[str, Any]:
    return {"rotation": pose.rotation.tolist(), "translation": pose.translation.tolist()}
