"""Lines as sequences of numbers: x and y of each vertex in turn, and where the line begins and which way it goes.

After Nash et al., PolyGen, ICML 2020, https://arxiv.org/abs/2002.10880, section 2, and Liu et al., VectorMapNet, ICML
2023, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from internimage.driving.geometry.library import geometry_library
from internimage.driving.geometry.poses import Array
from internimage.driving.geometry.vector_map import VectorMap, is_closed
from internimage.driving.maps.canvas import Canvas

STOP = 0
"""Stands where the x of a further vertex would."""

_SIMPLER = 0.2  # metres (Douglas and Peucker, 1973)


@dataclass(frozen=True)
class LineTokens:
    """Lines of a frame.

    Attributes:
        labels: (G,) int64.
        corners: (G, 2, 2) float32 shares of the canvas: least x and y of a line, greatest x and y.
        boxes: (G, 4) int64, the same as tokens.
        vertices: (G, V, 2) int64 tokens x, y; ``STOP`` after the last one.
        counts: (G,) int64, vertices of each.
        weights: (G, V) float32 of vertices, by the length of the edges at them; their mean over a line is 1.
    """

    labels: Tensor
    corners: Tensor
    boxes: Tensor
    vertices: Tensor
    counts: Tensor
    weights: Tensor

    @classmethod
    def of(cls, truth: VectorMap, canvas: Canvas, most: int, device: torch.device | None = None) -> LineTokens:
        """From a frame's map; lines that lie in a single cell are left out.

        Raises:
            MissingExtraError: shapely is not installed.
        """
        kept, lines, corners = [], [], []
        for number, line in enumerate(truth.lines):
            if len(line) > 1 and len(tokens := line_tokens(line, canvas, most)) > 1:
                kept.append(number)
                lines.append(tokens)
                corners.append(np.stack([np.min(line, axis=0), np.max(line, axis=0)]))
        longest = max(map(len, lines), default=2)
        vertices = torch.full((len(lines), longest, 2), STOP)
        weights = torch.zeros(len(lines), longest)
        for row, tokens in enumerate(lines):
            vertices[row, : len(tokens)] = tokens
            weights[row, : len(tokens)] = edge_weights(canvas.metres(canvas.token_shares(tokens)))
        metres = torch.from_numpy(np.array(corners, np.float32).reshape(-1, 2, 2))
        parts = (
            torch.from_numpy(np.asarray(truth.labels, np.int64)[kept]),
            canvas.shares(metres),
            canvas.tokens(metres).flatten(1),
            vertices,
            torch.tensor([len(tokens) for tokens in lines], dtype=torch.int64),
            weights,
        )
        return cls(*(part.to(device) for part in parts))


def line_tokens(line: Array, canvas: Canvas, most: int) -> Tensor:
    """(V, 2) int64 of a line, simplified to 0.2 m, and further until it has no more than ``most`` vertices.

    An open line begins at its end of least x, of equal ones that of least y.  A closed one begins at its vertex of
    least x and y, goes counter-clockwise and ends where it began.
    """
    shapely, closed, away = geometry_library(), is_closed(line), _SIMPLER
    simple = np.asarray(line, np.float64)
    while True:
        shape = shapely.simplify(shapely.LineString(line), away, preserve_topology=False)
        simple = np.array(shape.coords) if not shape.is_empty else simple
        tokens = canvas.tokens(torch.from_numpy(simple))
        changed = (tokens.diff(dim=0) != 0).any(1)
        tokens = tokens[torch.cat([torch.ones(1, dtype=torch.bool), changed])]
        if len(tokens) <= most:
            return _from_its_beginning(tokens, closed)
        away *= 2


def _from_its_beginning(tokens: Tensor, closed: bool) -> Tensor:
    rows = tokens.tolist()
    if not closed or len(rows) < 4:
        return tokens if rows[0] <= rows[-1] else tokens.flip(0)
    ring = tokens[:-1]
    x, y = ring.unbind(1)
    if int((x * y.roll(-1) - x.roll(-1) * y).sum()) < 0:
        ring = ring.flip(0)
    rows = ring.tolist()
    ring = ring.roll(-rows.index(min(rows)), dims=0)
    return torch.cat([ring, ring[:1]])


def edge_weights(vertices: Tensor) -> Tensor:
    """(V,) of vertices (V, 2) in metres: half the edges at each, as a share of their mean."""
    edges = vertices.diff(dim=0).norm(dim=1)
    none = edges.new_zeros(1)
    each = (torch.cat([edges, none]) + torch.cat([none, edges])) / 2
    return each / each.mean()
