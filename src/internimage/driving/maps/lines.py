"""Which element learns which line, in which order of its points, and by what (Liao et al., MapTR, ICLR 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from internimage.driving.geometry.vector_map import VectorMap, evenly_spaced, is_closed
from internimage.driving.maps.canvas import Canvas
from internimage.layers.queries.hungarian import hungarian
from internimage.layers.queries.losses import FOCAL_ALPHA, FOCAL_GAMMA, mean_over_processes

_CLASS, _POINTS, _DIRECTION = 2.0, 5.0, 0.005  # of costs and losses; shares of the canvas
_TINY = 1e-12


@dataclass(frozen=True)
class LineTargets:
    """Lines of a frame.

    Attributes:
        orders: (G, O, P, 2) float32 shares of the canvas: the points of each line in all orders that mean the same.
        labels: (G,) int64.
    """

    orders: Tensor
    labels: Tensor

    @classmethod
    def of(cls, truth: VectorMap, canvas: Canvas, points: int, device: torch.device | None = None) -> LineTargets:
        """From a frame's map; lines of one point are left out."""
        kept = [number for number, line in enumerate(truth.lines) if len(line) > 1]
        most = max([len(orders_of(points, is_closed(truth.lines[number]))) for number in kept], default=1)
        rows = np.zeros((len(kept), most, points, 2), np.float32)
        for row, number in zip(rows, kept, strict=True):
            line = truth.lines[number]
            orders = orders_of(points, is_closed(line))
            row[:] = evenly_spaced(line, points)[
                np.resize(orders, (most, points))
            ]  # those of open lines again and again
        labels = torch.from_numpy(np.asarray(truth.labels, np.int64)[kept])
        return cls(canvas.shares(torch.from_numpy(rows)).to(device), labels.to(device))


def orders_of(points: int, closed: bool) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(O, points) places of a line's points in each order that means the same line.

    An open one has two.  A closed one, whose last point is the first, begins anywhere and goes either way:
    2 (points - 1).
    """
    if not closed:
        forward = np.arange(points)
        return np.stack([forward, forward[::-1]])
    count = points - 1
    starts, steps = np.arange(count)[:, None], np.arange(points)
    return np.concatenate([(starts + steps) % count, (starts - steps) % count])


@dataclass(frozen=True)
class Matched:
    """Which lines are learnt, P pairs in the order of layers and frames.

    Attributes:
        layers, frames, elements: (P,) int64, which prediction.
        points: (P, points, 2) what its points are to be.
        labels: (P,) int64.
    """

    layers: Tensor
    frames: Tensor
    elements: Tensor
    points: Tensor
    labels: Tensor


@torch.no_grad()
def match_lines(logits: Tensor, points: Tensor, targets: Sequence[LineTargets]) -> Matched:
    """Each layer for itself: by focal loss, and by the distance of points in the order that is nearest.

    Args:
        logits: (L, N, E, K).
        points: (L, N, E, P, 2) shares of the canvas.
        targets: of N frames.
    """
    pairs: list[tuple[Tensor, ...]] = []
    for frame, target in enumerate(targets):
        lines, orders = target.orders.shape[:2]
        if not lines:
            continue
        cost = _CLASS * focal_cost(logits[:, frame], target.labels)
        apart = torch.cdist(points[:, frame].flatten(-2).flatten(0, 1), target.orders.flatten(-2).flatten(0, 1), p=1)
        least, order = apart.view(*cost.shape, orders).min(-1)
        for layer, one in enumerate((cost + _POINTS * least).cpu()):
            element, line = (part.to(logits.device) for part in hungarian(one))
            where = (torch.full_like(element, layer), torch.full_like(element, frame), element)
            pairs.append((*where, target.orders[line, order[layer, element, line]], target.labels[line]))
    if not pairs:
        none = torch.zeros(0, dtype=torch.int64, device=logits.device)
        return Matched(none, none, none, points.new_zeros(0, *points.shape[-2:]), none)
    return Matched(*(torch.cat(part) for part in zip(*pairs, strict=True)))


def line_losses(
    logits: Tensor, points: Tensor, matched: Matched, size: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal loss, distance of points, and one minus the cosine between edges: (L,) each.

    The sums over points and edges of a layer are divided by the lines that it learns, the mean over all processes.

    Args:
        logits, points: see :func:`match_lines`.
        matched: what that gives.
        size: of the canvas in metres: directions are those on the ground.
    """
    where = (matched.layers, matched.frames, matched.elements)
    count = learnt_count(len(matched.labels), logits)
    focal = focal_losses(logits, where, matched.labels)
    found = points[where]
    distance = (found - matched.points).abs().sum((1, 2))
    sides = points.new_tensor(size)
    edges, wanted = ((one * sides).diff(dim=1) for one in (found, matched.points))
    turned = (1 - torch.cosine_similarity(edges, wanted, dim=-1, eps=1e-6)).sum(1)
    zeros = torch.zeros_like(focal)
    return (
        _CLASS * focal / count,
        _POINTS * zeros.index_add(0, matched.layers, distance) / count,
        _DIRECTION * zeros.index_add(0, matched.layers, turned) / count,
    )


def focal_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """(..., E, G) focal loss of being of each of G classes, less that of not being, from logits (..., E, K)."""
    chance = logits.float().sigmoid()[..., labels]
    hit = -(chance + _TINY).log() * FOCAL_ALPHA * (1 - chance) ** FOCAL_GAMMA
    miss = -(1 - chance + _TINY).log() * (1 - FOCAL_ALPHA) * chance**FOCAL_GAMMA
    return hit - miss


def focal_losses(logits: Tensor, where: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """(L,) sums of the focal loss of logits (L, N, E, K), where those of layer, frame and element learn classes."""
    from torchvision.ops import sigmoid_focal_loss

    wanted = torch.zeros_like(logits, dtype=torch.float32)
    wanted[(*where, labels)] = 1.0
    losses: Tensor = sigmoid_focal_loss(logits.float(), wanted, FOCAL_ALPHA, FOCAL_GAMMA).sum((1, 2, 3))
    return losses


def learnt_count(pairs: int, logits: Tensor) -> Tensor:
    """How many things a layer learns: the mean over all processes, at least 1; ``pairs`` of all layers together."""
    return mean_over_processes(logits.new_tensor(pairs / len(logits), dtype=torch.float32)).clamp(min=1)
