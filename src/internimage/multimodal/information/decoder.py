"""From the tokens of a part of a picture to those of another part, or of another view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from internimage.backbones.parts import initialise_linear
from internimage.multimodal.information.mixing import grid_places
from internimage.multimodal.sequences.embeddings import START_STD, waves
from internimage.multimodal.sequences.encoder import Encoder
from internimage.multimodal.sequences.kinds import PICTURE


class Decoder(nn.Module):
    """Transformer layers over known tokens and, at places where nothing is known, one learnt token.

    Args:
        channels: of the tokens that come in and go out.
        width: inside, a multiple of 4 and of the heads.
        layers, heads, feed_forward: see :class:`Encoder`.
    """

    def __init__(self, channels: int, width: int, layers: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.unknown = nn.Parameter(torch.zeros(width))
        self.encoder = Encoder(layers, width, heads, feed_forward)
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, channels)
        nn.init.normal_(self.unknown, std=START_STD)
        for linear in (self.embed, self.predict):
            initialise_linear(linear, None)

    def fill(self, tokens: Tensor, visible: Tensor, grid: tuple[int, int]) -> Tensor:
        """Every token of a picture of which some are visible.

        Args:
            tokens: (N, L, C); what is not visible is not looked at.
            visible: (N, L) bool.
            grid: rows and columns, L in all.

        Returns:
            (N, L, C), those of visible places too.
        """
        known = torch.where(visible[..., None], self.embed(tokens), self.unknown)
        outputs, _ = self.encoder(known + self._waves(grid_places(*grid, tokens.device)), PICTURE)
        return self._predicted(outputs)

    def transfer(self, tokens: Tensor, visible: Tensor, grid: tuple[int, int], places: Tensor) -> Tensor:
        """The tokens of another view at ``places`` (N, M, 2) of this one, see :func:`other_places`: (N, M, C)."""
        count, asked = places.shape[:2]
        known = self.embed(tokens) + self._waves(grid_places(*grid, tokens.device))
        unknown = self.unknown + self._waves(places)
        seen = torch.cat([visible, visible.new_ones(count, asked)], dim=1)[:, None, None]
        outputs, _ = self.encoder(torch.cat([known, unknown], dim=1), PICTURE, seen=seen)
        return self._predicted(outputs[:, -asked:])

    def _waves(self, places: Tensor) -> Tensor:
        return waves(places, len(self.unknown)).to(self.unknown.dtype)

    def _predicted(self, outputs: Tensor) -> Tensor:
        predicted: Tensor = self.predict(self.norm(outputs))
        return predicted
