"""Recordings for the rerun viewer: cameras with their pictures, boxes, and the way that the vehicle took."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from internimage.drawing.objects import class_colour
from internimage.driving.data.frames import Camera, Frame
from internimage.driving.geometry.boxes import Boxes
from internimage.driving.geometry.poses import Pose, quaternion_of
from internimage.driving.geometry.standing import standing_rotations
from internimage.errors import ConfigError, DataError, ImageReadError, MissingExtraError
from internimage.images import show_image
from internimage.writing import written_aside

_LIDAR = "world/ego/lidar"
_QUALITY = 88


def library() -> Any:
    """The rerun SDK.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import_module("rerun.blueprint")
        return import_module("rerun")
    except ImportError as error:
        raise MissingExtraError("recordings need the rerun SDK: pip install 'internimage[viewer]'") from error


def write_recording(
    target: Path,
    frames: Iterable[tuple[Frame, Boxes]],
    names: Sequence[str],
    *,
    truth: Callable[[Frame], Boxes] | None = None,
    width: int = 800,
) -> int:
    """Write frames of one drive as an ``.rrd`` file, to be opened with ``rerun FILE``.

    Places are relative to the vehicle's first one, because the viewer computes in float32.  A camera whose picture
    cannot be read is there without one.

    Args:
        target: the file.
        frames: in the order of time, each with its boxes in the lidar frame; used one at a time.
        names: of the classes.
        truth: gives a frame's true boxes, to be shown as well, such as ``lambda frame: frame.boxes``.
        width: of the pictures in the recording; larger ones are scaled down.

    Returns:
        How many frames were written.

    Raises:
        ConfigError: the name does not end in ``.rrd``.
        FileWriteError: the disk is full or not writable.
        MissingExtraError: the rerun SDK is not installed.
    """
    if target.suffix != ".rrd":
        raise ConfigError(f"{target} is no recording's name; expected one that ends in .rrd")
    rerun = library()
    count = 0
    with written_aside(target) as aside:
        recording = rerun.RecordingStream("internimage driving")
        recording.save(aside)
        path: list[Any] = []
        home: Pose | None = None
        for frame, boxes in frames:
            if home is None:
                home = Pose(np.eye(3), frame.ego.translation).inverse
                recording.send_blueprint(_layout(rerun, [camera.channel for camera in frame.cameras]))
                recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
            recording.set_time("time", timestamp=frame.time / 1e6)
            recording.set_time("frame", sequence=count)
            ego = home @ frame.ego
            path.append(ego.translation)
            recording.log("world/ego", _moved(rerun, ego))
            recording.log("world/path", rerun.LineStrips3D([np.array(path)], colors=[(230, 120, 30)], radii=0.12))
            recording.log(_LIDAR, _moved(rerun, frame.lidar))
            for camera in frame.cameras:
                _log_camera(rerun, recording, camera, width)
            upright = frame.lidar_to_global
            _log_boxes(rerun, recording, "boxes", boxes, names, upright, radius=0.05)
            if truth is not None:
                _log_boxes(rerun, recording, "truth", truth(frame), names, upright, radius=0.02)
            count += 1
        recording.disconnect()  # what is on its way is written
    return count


def _layout(rerun: Any, channels: Sequence[str]) -> Any:
    """What the viewer shows first: the world, and each camera with the boxes over it."""
    part = rerun.blueprint
    views = [
        part.Spatial2DView(
            name=channel, origin=f"{_LIDAR}/{channel}", contents=["$origin/**", f"{_LIDAR}/boxes", f"{_LIDAR}/truth"]
        )
        for channel in channels
    ]
    whole = part.Spatial3DView(name="world", origin="world")
    return part.Blueprint(part.Horizontal(whole, part.Grid(*views, grid_columns=2)), collapse_panels=True)


def _moved(rerun: Any, pose: Pose) -> Any:
    return rerun.Transform3D(translation=pose.translation, mat3x3=pose.rotation)


def _log_camera(rerun: Any, recording: Any, camera: Camera, width: int) -> None:
    place = f"{_LIDAR}/{camera.channel}"
    scale = min(1.0, width / camera.size[1])
    size = max(1, round(camera.size[1] * scale)), max(1, round(camera.size[0] * scale))
    intrinsic = np.diag([size[0] / camera.size[1], size[1] / camera.size[0], 1.0]) @ camera.intrinsic
    recording.log(place, _moved(rerun, camera.pose))
    pinhole = rerun.Pinhole(
        image_from_camera=intrinsic, resolution=size, camera_xyz=rerun.ViewCoordinates.RDF, image_plane_distance=2.0
    )
    recording.log(place, pinhole)
    try:
        picture = show_image(camera.file)
    except (ImageReadError, DataError):
        recording.log(f"{place}/picture", rerun.Clear(recursive=False))
        return
    content = io.BytesIO()
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.save(content, "JPEG", quality=_QUALITY)
    recording.log(f"{place}/picture", rerun.EncodedImage(contents=content.getvalue(), media_type="image/jpeg"))


def _log_boxes(
    rerun: Any, recording: Any, name: str, boxes: Boxes, names: Sequence[str], upright: Pose, *, radius: float
) -> None:
    place = f"{_LIDAR}/{name}"
    colours = [class_colour(int(label)) for label in boxes.labels]
    texts = [
        names[label].replace("_", " ") + (f" {score:.2f}" if score < 1 else "")
        for label, score in zip(boxes.labels.tolist(), boxes.scores.tolist(), strict=True)
    ]
    turns = np.array([quaternion_of(one)[[1, 2, 3, 0]] for one in standing_rotations(boxes, upright)]).reshape(-1, 4)
    recording.log(
        place,
        rerun.Boxes3D(
            centers=boxes.centres,
            half_sizes=boxes.sizes[:, [1, 0, 2]] / 2,
            quaternions=turns,
            colors=colours,
            labels=texts,
            radii=np.full(len(boxes), radius),
        ),
    )
    speeds = np.concatenate([np.nan_to_num(boxes.velocities), np.zeros((len(boxes), 1))], axis=1)
    recording.log(
        f"{place}/velocities", rerun.Arrows3D(origins=boxes.centres, vectors=speeds, colors=colours, radii=radius)
    )
