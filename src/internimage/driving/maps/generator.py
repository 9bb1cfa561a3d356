"""Vertices of a line one after the other: a causal transformer on the class and box of an element and on the grid.

Liu et al., VectorMapNet, ICML 2023, https://arxiv.org/abs/2206.08920, section 3.3; Nash et al., PolyGen, ICML 2020;
residuals begin at zero (Bachlechner et al., ReZero, UAI 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.driving.maps.canvas import Canvas
from internimage.driving.maps.settings import GeneratorConfig
from internimage.driving.maps.tokens import STOP, LineTokens
from internimage.layers.attention import DeformableAttention, FeedForward, dropped

_PREFIX = 5  # tokens before the first vertex: four of the box, one of the class
_FEWEST = 2  # vertices of a line


class Past(NamedTuple):
    """What a layer keeps of the tokens before: keys and values (E, heads, T, c), and what it samples of the grid."""

    keys: Tensor
    values: Tensor
    cells: Tensor


class GeneratorLayer(nn.Module):
    """Attention to the tokens before, deformable attention to the grid where the line has come to, two linear layers.

    Args:
        channels: C.
        heads: divide the channels.
        width: of the two linear layers.
        dropout: in training.
    """

    def __init__(self, channels: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj, self.out_proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.cross_attention = DeformableAttention(channels, heads, 1)
        self.feed_forward = FeedForward(channels, width, dropout=dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.shares = nn.Parameter(torch.zeros(3))

    def forward(
        self, tokens: Tensor, places: Tensor, bev: Tensor, shape: tuple[int, int], past: Past | None = None
    ) -> tuple[Tensor, Past]:
        """Tokens (E, T, C) that follow those of ``past``, and what those that follow need.

        Args:
            tokens: of E elements of one frame; with ``past`` a single one of each.
            places: (E, T, 2) shares of the grid's width and height at which it is sampled.
            bev: (1, cells, C) of the frame.
            shape: (height, width) of the grid.
            past: None at the beginning.
        """
        query, keys, values = (
            one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in self.in_proj(self.norm1(tokens)).chunk(3, -1)
        )
        cells = self.cross_attention.values(bev) if past is None else past.cells
        if past is not None:
            keys, values = torch.cat([past.keys, keys], dim=2), torch.cat([past.values, values], dim=2)
        mixed = F.scaled_dot_product_attention(
            query, keys, values, dropout_p=self.dropout if self.training else 0.0, is_causal=past is None
        )
        mixed = self.out_proj(mixed.transpose(1, 2).flatten(2))
        tokens = tokens + self.shares[0] * dropped(mixed, self.dropout, self.training)
        asked, at = self.norm2(tokens).flatten(0, 1)[None], places.flatten(0, 1)[None, :, None]
        sampled = self.cross_attention.sample(asked, at, cells, [shape])[0].view_as(tokens)
        tokens = tokens + self.shares[1] * dropped(sampled, self.dropout, self.training)
        more = self.feed_forward(self.norm3(tokens))
        return tokens + self.shares[2] * dropped(more, self.dropout, self.training), Past(keys, values, cells)


class LineGenerator(nn.Module):
    """Elements of a frame to lines.

    The tokens: least x, least y, greatest x, greatest y of the box, the class, then x and y of each vertex; what comes
    out of a token says what the next one is.  Each token looks at the grid where the line has come to; before the first
    vertex that is the middle of the box.

    Args:
        canvas: whose cells the tokens number.
        inputs: channels of the grid's cells.
        channels: C.
        heads: divide the channels.
        width: of the two linear layers in each layer.
        num_classes: of elements.
        config: the rest.
    """

    def __init__(
        self,
        canvas: Canvas,
        inputs: int,
        channels: int,
        heads: int,
        width: int,
        num_classes: int,
        config: GeneratorConfig,
    ) -> None:
        super().__init__()
        self.canvas, self.config = canvas, config
        columns, rows = canvas.cells
        self.project = nn.Linear(inputs, channels)
        self.classes = nn.Embedding(num_classes, channels)
        self.x, self.y = nn.Embedding(columns + 1, channels), nn.Embedding(rows + 1, channels)
        self.roles = nn.Embedding(_PREFIX + 2, channels)
        self.order = nn.Embedding(config.vertices, channels)
        self.layers = nn.ModuleList(
            GeneratorLayer(channels, heads, width, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.next_x, self.next_y = nn.Linear(channels, columns + 1), nn.Linear(channels, rows)

    def forward(self, bev: Tensor, labels: Tensor, boxes: Tensor, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """What follows what of lines that are known, all at once.

        Args:
            bev: (cells, inputs) of one frame.
            labels: (E,) int64.
            boxes: (E, 4) int64 tokens.
            vertices: (E, V, 2) int64 tokens.

        Returns:
            float32 logits (E, V + 1, columns + 1) of each vertex's x, 0 for the end, and (E, V, rows) of its y, of
            which number 0 is token 1.
        """
        begun, places = self.beginning(labels, boxes)
        further, more_places = self.placed(vertices, boxes)
        tokens, places = torch.cat([begun, further], dim=1), torch.cat([places, more_places], dim=1)
        cells, shape = self.project(bev)[None], (self.canvas.grid.height, self.canvas.grid.width)
        for layer in self.layers:
            tokens, _ = layer(tokens, places, cells, shape)
        after = self.norm(tokens[:, _PREFIX - 1 :])
        return self.next_x(after[:, 0::2]).float(), self.next_y(after[:, 1::2]).float()

    def losses(self, bev: Tensor, targets: Sequence[LineTokens]) -> Tensor:
        """Negative logarithm of the likelihood of true lines, a mean over tokens that count by the edges at them.

        Args:
            bev: (N, cells, inputs).
            targets: of N frames.
        """
        total, weight = [], bev.new_zeros((), dtype=torch.float32)
        for cells, target in zip(bev, targets, strict=True):
            if not len(target.labels):  # all the same something of each parameter, of which nothing is learnt
                one = torch.ones(1, 4, dtype=torch.int64, device=bev.device)
                total.append(sum(part.sum() for part in self(cells, one[0, :1] - 1, one, one.view(1, 2, 2))) * 0.0)
                continue
            next_x, next_y = self(cells, target.labels, target.boxes, target.vertices)
            ends = torch.arange(target.vertices.shape[1] + 1, device=bev.device) == target.counts[:, None]
            x, y = F.pad(target.vertices[..., 0], (0, 1), value=STOP), target.vertices[..., 1]
            weights = F.pad(target.weights, (0, 1)) + ends.float()
            total.append((weights * F.cross_entropy(next_x.mT, x, reduction="none")).sum())
            rows = (y - 1).clamp(min=0)  # where there is no vertex, which has no weight
            total.append((target.weights * F.cross_entropy(next_y.mT, rows, reduction="none")).sum())
            weight = weight + weights.sum() + target.weights.sum()
        loss: Tensor = torch.stack([torch.as_tensor(one) for one in total]).sum() / weight.clamp(min=1)
        return loss

    @torch.no_grad()
    def draw(self, bev: Tensor, labels: Tensor, boxes: Tensor) -> list[Tensor]:
        """(V, 2) int64 tokens of the line of each element; see :meth:`forward`.

        What was computed of earlier tokens is kept, so that each further one costs the same but for looking back.
        """
        if not len(labels):
            return []
        tokens, places = self.beginning(labels, boxes)
        cells = self.project(bev)[None]
        after, past = self.step(tokens, places, cells, None)
        drawn: list[Tensor] = []
        running = torch.ones(len(labels), dtype=torch.bool, device=bev.device)
        lengths = torch.zeros_like(labels)
        for number in range(self.config.vertices):
            logits = self.next_x(after).float()
            if number < _FEWEST:
                logits[:, STOP] = -torch.inf
            x = self._chosen(logits)
            running = running & (x != STOP)
            if not running.any():
                break
            lengths = lengths + running
            vertex = torch.stack([x.clamp(min=1), torch.ones_like(x)], dim=1)
            before = drawn[-1] if drawn else None
            tokens, places = self.placed(vertex[:, None], boxes, number, before)
            after, past = self.step(tokens[:, :1], places[:, :1], cells, past)
            vertex[:, 1] = self._chosen(self.next_y(after).float()) + 1
            drawn.append(vertex)
            if number + 1 < self.config.vertices:
                tokens, places = self.placed(vertex[:, None], boxes, number, before)
                after, past = self.step(tokens[:, 1:], places[:, 1:], cells, past)
        whole = torch.stack(drawn, dim=1)
        return [line[:length] for line, length in zip(whole, lengths.tolist(), strict=True)]

    def step(
        self, tokens: Tensor, places: Tensor, cells: Tensor, past: Sequence[Past] | None
    ) -> tuple[Tensor, list[Past]]:
        """(E, C) what comes out of the last of tokens (E, T, C) that follow a past, and the past with them."""
        shape, kept = (self.canvas.grid.height, self.canvas.grid.width), []
        for number, layer in enumerate(self.layers):
            tokens, own = layer(tokens, places, cells, shape, None if past is None else past[number])
            kept.append(own)
        return self.norm(tokens[:, -1]), kept

    def beginning(self, labels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (E, 5, C) of box and class, and their places (E, 5, 2)."""
        values = [self.x(boxes[:, 0]), self.y(boxes[:, 1]), self.x(boxes[:, 2]), self.y(boxes[:, 3])]
        tokens = torch.stack([*values, self.classes(labels)], dim=1) + self.roles.weight[:_PREFIX]
        middle = self.canvas.grid_shares(self._middle(boxes))
        return tokens, middle[:, None].expand(-1, _PREFIX, -1)

    def placed(
        self, vertices: Tensor, boxes: Tensor, first: int = 0, before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (E, 2 V, C) of vertices (E, V, 2), and their places (E, 2 V, 2).

        ``first`` is the number of the first one; ``before`` (E, 2) the one before it, None for none.
        """
        role_x, role_y = self.roles.weight[_PREFIX:]
        order = self.order.weight[first : first + vertices.shape[1]]
        x, y = self.x(vertices[..., 0]) + role_x + order, self.y(vertices[..., 1]) + role_y + order
        here = self.canvas.token_shares(vertices)
        start = self._middle(boxes) if before is None else self.canvas.token_shares(before)
        earlier = torch.cat([start[:, None], here[:, :-1]], dim=1)  # of an x, the y before it is known
        at_x = torch.stack([here[..., 0], earlier[..., 1]], dim=-1)
        places = self.canvas.grid_shares(torch.stack([at_x, here], dim=2).flatten(1, 2))
        return torch.stack([x, y], dim=2).flatten(1, 2), places

    def _middle(self, boxes: Tensor) -> Tensor:
        """(E, 2) shares of the canvas."""
        return self.canvas.token_shares(boxes.view(-1, 2, 2)).mean(1)

    def _chosen(self, logits: Tensor) -> Tensor:
        """(E,) the likeliest of (E, numbers), or one of the likeliest at random."""
        if not self.config.nucleus:
            return logits.argmax(-1)
        chance, number = logits.softmax(-1).sort(dim=-1, descending=True)
        kept = chance.cumsum(-1) - chance < self.config.nucleus  # until their sum reaches it
        return number.gather(-1, torch.multinomial(chance * kept, 1)).squeeze(-1)
