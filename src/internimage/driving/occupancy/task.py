"""Filled space in training."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from internimage.driving.bev.inputs import VoxelTargets
from internimage.driving.data.frames import Frame, Frames
from internimage.driving.data.occ3d import CLASSES, UNKNOWN, VoxelGrid, label_file, read_space
from internimage.driving.occupancy.evaluation import SpaceReport
from internimage.driving.occupancy.pipeline import SpacePipeline
from internimage.driving.occupancy.reading import SpaceFrames
from internimage.driving.sequences.task import SequenceTask
from internimage.errors import ConfigError

_COUNTED = 200  # frames by which the shares of classes are known well enough


class SpaceTask(SequenceTask):
    """Classes of voxels around the vehicle."""

    noun = "what fills space"
    best = "miou"
    headline = ("miou", "geometry")

    @classmethod
    def look_over(cls, part: Frames) -> None:
        """Frames without labels were left out in reading."""

    @classmethod
    def targets(cls, config: Any, data: Frames) -> partial[VoxelTargets]:
        assert isinstance(data, SpaceFrames)
        if config.voxels != (expected := VoxelGrid()):
            raise ConfigError(
                f"the model has {config.voxels.shape} voxels from {config.voxels.start} on, of {config.voxels.side} m; "
                f"the labels have {expected.shape} from {expected.start} on, of {expected.side} m"
            )
        return partial(voxel_targets, root=data.root)

    @classmethod
    def fit(cls, model: Any, train: Frames, *, anew: bool) -> None:
        """Begin with how frequent classes are at each height: most of space is free."""
        if anew:
            assert isinstance(train, SpaceFrames)
            shares = class_shares(train, seen_only=model.config.learning.seen_only)
            model.decoder.begin_with(shares / shares.sum(1, keepdim=True).clamp(min=1e-12))

    def prepare(self, train: Frames) -> None:
        if self.config.learning.balance:
            assert isinstance(train, SpaceFrames)
            self.shares = class_shares(train, seen_only=self.config.learning.seen_only).sum(0)

    def further(self, device: torch.device) -> tuple[Tensor | None]:
        return (self.shares.to(device),) if self.config.learning.balance else (None,)

    def pipeline(self, model: Any, *, in_step: bool = False) -> SpacePipeline:
        return SpacePipeline(model, tells=False)

    def report(self, pipeline: Any) -> SpaceReport:
        return SpaceReport.on(pipeline, self.val)  # type: ignore[arg-type]  # as the reader makes them


def voxel_targets(frame: Frame, root: Any) -> VoxelTargets:
    """The labels of a frame and what a camera sees of them."""
    space = read_space(label_file(root, frame.scene, frame.token))
    return VoxelTargets(torch.from_numpy(space.labels)[None], torch.from_numpy(space.camera)[None])


def class_shares(data: SpaceFrames, *, seen_only: bool) -> Tensor:
    """(heights, classes) shares of the voxels, by at most 200 frames evenly over the data."""
    heights = VoxelGrid().shape[2]
    counts = np.zeros(heights * (UNKNOWN + 1), np.int64)
    at = np.arange(heights) * (UNKNOWN + 1)
    for place in np.unique(np.linspace(0, len(data) - 1, _COUNTED).round().astype(int)).tolist():
        space = data.space_of(data.frames[place])
        numbers = space.labels + at  # the last axis is the height
        counts += np.bincount(numbers[space.camera] if seen_only else numbers.ravel(), minlength=len(counts))
    known = counts.reshape(heights, -1)[:, : len(CLASSES)]
    return torch.from_numpy(known / max(1, known.sum())).float()
