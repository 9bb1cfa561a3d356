"""Who sees whom in a sequence: true where a row may look at a column."""

from __future__ import annotations

import torch
from torch import Tensor


def caption_table(before: int, words: int, device: torch.device | None = None) -> Tensor:
    """Rows of the text part of a caption in training: (2 * words, before + 2 * words) bool.

    The text part is the words, then as many places to be filled.  A word sees what is before, the words up to it and
    itself; place k sees what is before, the words before word k, and itself.  What is before sees nothing of the text.

    Args:
        before: tokens of the picture, with the one in front.
        words: of the caption, with the end token.
        device: of the result.
    """
    square = torch.ones(words, words, dtype=torch.bool, device=device)
    causal, earlier, own = square.tril(), square.tril(-1), square.tril() & square.triu()
    seen = torch.cat([torch.cat([causal, ~square], 1), torch.cat([earlier, own], 1)])
    return torch.cat([seen.new_ones(2 * words, before), seen], dim=1)


def sees(present: Tensor, table: Tensor | None = None) -> Tensor:
    """Attention's mask for columns of which some are padding: (N, 1, rows or 1, columns) bool.

    Args:
        present: (N, columns) bool, false for padding.
        table: (rows, columns) bool; None where all rows see all columns.
    """
    columns = present[:, None, None]
    return columns if table is None else columns & table


def caption_mask(before: int, present: Tensor) -> Tensor:
    """:func:`caption_table` for captions of several lengths: (N, 1, 2 * L, before + 2 * L) bool.

    Args:
        before: see there.
        present: (N, L) bool, the words of each caption, shorter ones padded behind.
    """
    columns = torch.cat([present.new_ones(len(present), before), present, present], dim=1)
    return sees(columns, caption_table(before, present.shape[1], present.device))
