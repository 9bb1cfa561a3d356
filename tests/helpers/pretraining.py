"""Small networks of M3I, and views of drawn pictures that need no files."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers import detectors
from internimage.backbones.config import InternImageConfig
from internimage.multimodal.information.mixing import draw_cells
from internimage.multimodal.models.m3i import ViewTargets
from internimage.multimodal.models.m3i_config import M3IConfig

SMALL = M3IConfig(
    InternImageConfig(channels=16, depths=(1, 1), groups=(1, 2), linear_std=None, random_filters=True),
    width=32,
    layers=1,
    heads=2,
    feed_forward=64,
    shared=16,
    text_width=16,
    text_layers=1,
    text_heads=2,
    vocabulary=tuple(range(300, 310)),
    num_classes=3,
    texts=True,
)
WHOLE = replace(SMALL, backbone=detectors.SMALL, vocabulary=(), num_classes=0, texts=False)  # the detectors' backbone
SIDE, ROOM = 32, 16
NAMES = ("intra", "inter", "labels", "texts", "spread")


def clouds(count: int, seed: int = 0) -> Tensor:
    """Smooth pictures in three colours, larger than a view: (count, 3, 48, 48)."""
    noise = torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(SIDE + ROOM,) * 2, mode="bicubic")


TEXT = (300, 301, 49407)


def told(targets: ViewTargets) -> ViewTargets:
    """Six pictures with labels and texts, of which two are equal; some lack the one or the other."""
    return replace(
        targets,
        labels=torch.tensor([0, 1, 2, -1, 1, -1]),
        texts=[TEXT, None, (302, 49407), None, TEXT, None],
        text_keys=torch.tensor([1, 0, 2, 0, 1, 0]),
    )


def views_of(count: int, cell: int, asked: tuple[str, ...] = NAMES) -> tuple[Tensor, ViewTargets]:
    """Views of so many pictures, always the same."""
    torch.manual_seed(0)
    return views(clouds(count), cell, asked)


def views(pictures: Tensor, cell: int, asked: tuple[str, ...]) -> tuple[Tensor, ViewTargets]:
    """Two windows of each picture, from PyTorch's generator."""
    count = len(pictures)
    corners = torch.randint(0, ROOM + 1, (2, count, 2))
    shown = [
        torch.stack([one[:, y : y + SIDE, x : x + SIDE] for one, (y, x) in zip(pictures, own.tolist(), strict=True)])
        for own in corners
    ]
    placement = torch.cat([(corners[1] - corners[0]) / cell, torch.ones(count, 2)], dim=1)
    cells = torch.stack([draw_cells(SIDE // cell, SIDE // cell) for _ in range(count)])
    return shown[0], ViewTargets(asked, cells, torch.arange(count).roll(-1), shown[1], placement)
