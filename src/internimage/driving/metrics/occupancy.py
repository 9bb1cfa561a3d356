"""Scores of occupied space: intersection over union of classes, and how near found surfaces are to true ones.

Occ3D (Tian et al., NeurIPS 2023, https://arxiv.org/abs/2304.14365) and the CVPR 2023 challenge on 3D occupancy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from internimage.driving.data.occ3d import UNKNOWN, Mask, Voxels
from internimage.errors import DataError

_EPS = 1e-8


class OccupancyScore:
    """The score of voxels in frames that are added one by one, by any number of processes.

    Args:
        classes: names; the last is space that is free.
        distance: metres within which a surface is near, for the F-score; None leaves it out, which is slow.
        voxel: metres.
    """

    def __init__(self, classes: Sequence[str], distance: float | None = None, voxel: float = 0.4) -> None:
        self.classes = tuple(classes)
        self.distance, self.voxel = distance, voxel
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        """(C, C) counts of voxels, rows are true."""
        self._near: dict[str, tuple[float, float]] = {}
        self._added: set[str] = set()

    def add(self, token: str, truth: Voxels, found: Voxels, seen: Mask | None = None) -> None:
        """Add a frame.

        Args:
            token: its identity.
            truth, found: (X, Y, Z) numbers of classes; ``UNKNOWN`` in truth does not count.
            seen: (X, Y, Z) voxels that count, such as those that a camera sees.

        Raises:
            DataError: shapes differ, a number is no class, or the frame was there before.
        """
        count = len(self.classes)
        if found.shape != truth.shape or (seen is not None and seen.shape != truth.shape):
            shapes = [found.shape, truth.shape, *([] if seen is None else [seen.shape])]
            raise DataError(f"frame {token}: grids of {' and '.join(map(str, shapes))}; expected the same")
        if token in self._added:
            raise DataError(f"frame {token} is there twice")
        mine, other = (truth, found) if seen is None else (truth[seen], found[seen])
        pairs = np.bincount((mine.astype(np.uint16).ravel() << 8) | other.ravel(), minlength=1 << 16)
        table = pairs.reshape(256, 256)
        if table[:count, count:].any() or table[count:UNKNOWN].any():
            raise DataError(
                f"frame {token}: numbers of classes up to {max(mine.max(), other.max())}; expected 0 to {count - 1}"
            )
        self.confusion += table[:count, :count]
        self._added.add(token)
        if self.distance is not None:
            self._near[token] = self._shares(truth, found, seen, self.distance)

    def _shares(self, truth: Voxels, found: Voxels, seen: Mask | None, distance: float) -> tuple[float, float]:
        """Shares of found voxels near true ones, and of true ones near found ones."""
        from scipy.ndimage import distance_transform_edt  # type: ignore[import-untyped]

        free = len(self.classes) - 1
        filled = []
        for voxels in (truth, found):
            one = (voxels != free) & (voxels != UNKNOWN)
            filled.append(one if seen is None else one & seen)
        shares = []
        for here, there in (filled[::-1], filled):
            away = distance_transform_edt(~there, sampling=self.voxel) if there.any() else np.full(here.shape, np.inf)
            shares.append(float((away[here] < distance).mean()) if here.any() else 0.0)
        return shares[0], shares[1]

    def state(self) -> Any:
        """Everything that was added."""
        return self.confusion, self._near, self._added

    def merge(self, states: Sequence[Any]) -> None:
        """Be the sum of what several processes added, which is not the same frames."""
        self.confusion = np.sum([state[0] for state in states], axis=0)
        self._near = {token: near for state in states for token, near in state[1].items()}
        self._added = {token for state in states for token in state[2]}

    def ious(self) -> dict[str, float]:
        """Of each class; NaN for one that is neither true nor found."""
        right = self.confusion.diagonal()
        union = self.confusion.sum(0) + self.confusion.sum(1) - right
        return {
            name: float(hit / whole) if whole else float("nan")
            for name, hit, whole in zip(self.classes, right, union, strict=True)
        }

    def compute(self) -> dict[str, float]:
        """ "miou" over all classes but free space, "geometry" (occupied or free, whatever the class) and "frames"; with
        a distance also "accuracy", "completeness" and "f1", means over frames."""
        ious = [iou for iou in list(self.ious().values())[:-1] if iou == iou]
        filled = self.confusion[:-1, :-1].sum()
        either = self.confusion.sum() - self.confusion[-1, -1]
        found = {
            "miou": float(np.mean(ious)) if ious else float("nan"),
            "geometry": float(filled / either) if either else float("nan"),
            "frames": len(self._added),
        }
        if self._near:
            accuracy, completeness = np.array(list(self._near.values())).T
            found |= {
                "accuracy": float(accuracy.mean()),
                "completeness": float(completeness.mean()),
                "f1": float((2 / (1 / (accuracy + _EPS) + 1 / (completeness + _EPS))).mean()),
            }
        return found
