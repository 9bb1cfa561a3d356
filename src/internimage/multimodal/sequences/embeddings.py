"""From words and maps to the vectors that a Uni-Perceiver reads.

Zhu et al., "Uni-Perceiver", CVPR 2022, section 3.1; the released code where the paper is silent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internimage.errors import DataError, InputSizeError

_WAVES = 10_000.0
START_STD = 0.02


def fixed_positions(height: int, width: int, channels: int, scale: float, device: torch.device | None = None) -> Tensor:
    """Sines of the row, cosines of the row, then of the column: (height * width, channels) float32, row by row.

    Args:
        height, width: of the map.
        channels: a multiple of 4.
        scale: of rows and columns, which are counted from 0.
        device: of the result.
    """
    axes = [torch.arange(side, dtype=torch.float64, device=device) * scale for side in (height, width)]
    return waves(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1), channels)


def waves(places: Tensor, channels: int) -> Tensor:
    """Sines of the row, cosines of the row, then of the column: (..., 2) of any places to (..., channels) float32.

    Args:
        places: row and column.
        channels: a multiple of 4.
    """
    quarter = channels // 4
    frequency = _WAVES ** (-torch.arange(quarter, dtype=torch.float64, device=places.device) / quarter)
    rows, columns = (places.double()[..., one, None] * frequency for one in (0, 1))
    return torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=-1).float()


class TextEmbedding(nn.Module):
    """Word, position and type, added up; the norm after them is the model's.

    Args:
        words: rows of the table.
        channels: width.
        longest: positions.
    """

    def __init__(self, words: int, channels: int, longest: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, channels)
        self.positions = nn.Embedding(longest, channels)
        self.types = nn.Embedding(2, channels)  # the second one is in released files and of no use
        for table in (self.words, self.positions, self.types):
            nn.init.normal_(table.weight, std=START_STD)

    def forward(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Rows (N, L) of the table at positions (L,) to (N, L, C)."""
        return self.words(rows) + self.positions(positions) + self.types.weight[0]

    def take_words(self, known: Sequence[int], wanted: Sequence[int]) -> None:
        """Have rows for ``wanted`` ids from now on, those that were ``known`` go on, others start anew."""
        table = self.words.weight.detach()
        words = nn.Embedding(len(wanted), table.shape[1]).to(table)
        nn.init.normal_(words.weight, std=START_STD)
        rows = {one: row for row, one in enumerate(wanted)}
        with torch.no_grad():
            words.weight[[rows[one] for one in known]] = table
        self.words = words

    def counted(self, length: int) -> Tensor:
        """Positions 0, 1, ... of a text of so many tokens: (length,) int64.

        Raises:
            DataError: there are not so many.
        """
        most = self.positions.num_embeddings
        if length > most:
            raise DataError(f"a text has {length} tokens; this model reads {most} or fewer, cut it")
        return torch.arange(length, device=self.positions.weight.device)


class PictureEmbedding(nn.Module):
    """Maps to tokens: projected if their width differs, with where they are and when; the norm is the model's.

    Args:
        inputs: channels of the maps; None for ``channels``, which are taken as they are.
        channels: width of the tokens.
        frames: moments that the table of times knows.
        span: where the last row or column of a map is, were there one more; rows are ``span / rows`` apart.
        grid: rows and columns of maps whose positions are kept as a table, as released files have it; None for none.
    """

    positions: Tensor | None

    def __init__(self, inputs: int | None, channels: int, frames: int, span: float, grid: int | None) -> None:
        super().__init__()
        self.span = span
        self.grid = grid
        self.project = nn.Identity() if inputs is None else nn.Linear(inputs, channels)
        self.times = nn.Embedding(frames, channels)
        nn.init.normal_(self.times.weight, std=START_STD)
        self.released_type = (
            None if grid is None else nn.Parameter(torch.zeros(1, channels))
        )  # in released files, of no use
        self.register_buffer("positions", None if grid is None else self._computed(grid, grid, channels))

    def forward(self, maps: Tensor, start: Tensor | None = None) -> Tensor:
        """Maps (N, T, C, H, W) of T moments to (N, T * H * W, channels), moment by moment and row by row.

        Args:
            maps: see above.
            start: (N,) int64, the first moment's number of each; 0 if None.

        Raises:
            InputSizeError: there is no moment.
        """
        moments, height, width = maps.shape[1], *maps.shape[3:]
        tokens = self.project(maps.flatten(3).transpose(2, 3))  # (N, T, H * W, channels)
        table = self.positions
        if table is None or (height, width) != (self.grid, self.grid):
            table = self._computed(height, width, tokens.shape[-1], maps.device)
        return (tokens + table.to(tokens) + self._times(moments, start)[:, :, None]).flatten(1, 2)

    def _computed(self, height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
        return fixed_positions(height, width, channels, self.span / max(height, width), device)

    def _times(self, moments: int, start: Tensor | None) -> Tensor:
        """(N or 1, moments, channels); of more than the table knows, between its rows."""
        table = self.times.weight
        if not moments:
            raise InputSizeError("a clip has no frames; expected one or more")
        if moments > len(table):
            between = F.interpolate(table.T[None], size=moments, mode="linear", align_corners=False)
            return between.transpose(1, 2)
        places = torch.arange(moments, device=table.device)[None]
        return table[places if start is None else places + start[:, None]]
