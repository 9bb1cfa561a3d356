"""What a network that sees with several cameras says about one moment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from internimage.driving.data.frames import Frame
from internimage.driving.data.nuscenes_classes import likely_attributes
from internimage.driving.geometry.boxes import Boxes, GlobalBoxes, in_global
from internimage.driving.geometry.poses import Array
from internimage.images import ImageSource
from internimage.writing import counted

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """Objects in space around the vehicle at one moment, best first.

    Attributes:
        boxes: in the lidar frame.
        names: of all classes.
        frame: the moment; its cameras' pictures are read again when it is drawn, so that results stay small.
        source: the picture that stands for it.
    """

    boxes: Boxes
    names: tuple[str, ...]
    frame: Frame
    source: ImageSource

    def __len__(self) -> int:
        return len(self.boxes)

    def part(self, places: Any) -> FoundBoxes:
        """The objects at these places, or where a mask (N,) says so."""
        return replace(self, boxes=self.boxes.chosen(places))

    def filter(self, score_threshold: float = 0.0, names: Collection[str] | None = None) -> FoundBoxes:
        """Those with at least this score, and, if given, of classes with these ``names``.

        Raises:
            KeyError: the model knows no class of such a name.
        """
        keep = self.boxes.scores >= score_threshold
        if names is not None:
            if unknown := sorted(set(names) - set(self.names)):
                raise KeyError(f"no class is called {', '.join(unknown)}; there are {', '.join(self.names[:8])} ...")
            keep &= np.isin(self.boxes.labels, [self.names.index(name) for name in names])
        return self.part(keep)

    def name(self, index: int) -> str:
        """Name of the class of object ``index``."""
        return self.names[int(self.boxes.labels[index])]

    def attributes(self) -> tuple[str, ...]:
        """What nuScenes calls an attribute, as likely from the class and the speed; "" for classes without any."""
        flat = np.concatenate([self.boxes.velocities, np.zeros((len(self), 1))], axis=1)
        along = (flat @ self.frame.lidar_to_global.rotation.T)[:, :2]
        return likely_attributes(self.names, self.boxes.labels, np.linalg.norm(along, axis=1))

    def in_global(self) -> GlobalBoxes:
        """The same in the global frame, with attributes."""
        return in_global(self.boxes, self.frame.lidar_to_global, self.attributes())

    @property
    def in_ego(self) -> Array:
        """(N, 3) centres in the vehicle's frame: metres ahead, to the left, above the ground."""
        return self.frame.lidar(self.boxes.centres)

    def draw(self, score_threshold: float = 0.3) -> Image.Image:
        """All cameras and the view from above, with the objects of at least this score."""
        from internimage.driving.drawing.scene import draw_frame

        return draw_frame(self.frame, self.filter(score_threshold).boxes, self.names)

    def text(self, score_threshold: float = 0.3) -> str:
        """The objects with at least this score for people, a line each: score, class, place from the vehicle, speed."""
        shown = self.filter(score_threshold)
        width = max((len(shown.name(i)) for i in range(len(shown))), default=0)
        speeds = np.linalg.norm(shown.boxes.velocities, axis=1).tolist()
        lines = [f"{self.frame.scene} {self.frame.token}: {counted(len(shown), 'object')}"]
        for i, ((ahead, left, _), speed) in enumerate(zip(shown.in_ego.tolist(), speeds, strict=True)):
            place = f"{abs(ahead):5.1f} m {'ahead ' if ahead >= 0 else 'behind'} {abs(left):5.1f} m "
            place += f"{'left ' if left >= 0 else 'right'}  {speed:4.1f} m/s"
            lines.append(f"  {shown.boxes.scores[i]:6.1%}  {shown.name(i):<{width}}  {place}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; lengths in metres, angles in radians, speeds in metres a second, time in microseconds.

        Of each object "lidar" has centre (of the volume), size (width, length, height), yaw (heading, counter-clockwise
        from the x axis) and velocity (x, y) in the lidar frame; "global" has centre, rotation (quaternion w, x, y, z)
        and velocity in that of the map.
        """
        there, boxes = self.in_global(), self.boxes
        objects = [
            {
                "label": self.name(i),
                "index": int(boxes.labels[i]),
                "score": float(boxes.scores[i]),
                "attribute": there.attributes[i],
                "size": boxes.sizes[i].tolist(),
                "lidar": {
                    "centre": boxes.centres[i].tolist(),
                    "yaw": float(boxes.yaws[i]),
                    "velocity": boxes.velocities[i].tolist(),
                },
                "global": {
                    "centre": there.centres[i].tolist(),
                    "rotation": there.rotations[i].tolist(),
                    "velocity": there.velocities[i].tolist(),
                },
            }
            for i in range(len(self))
        ]
        return {"token": self.frame.token, "scene": self.frame.scene, "time": self.frame.time, "objects": objects}

    def __repr__(self) -> str:
        best = ", ".join(f"{self.name(i)} {self.boxes.scores[i]:.1%}" for i in range(min(3, len(self))))
        return f"FoundBoxes({self.frame.token}: {counted(len(self), 'object')}{f', {best}' if best else ''})"
