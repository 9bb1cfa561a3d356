"""What a conditional layer is told of a sequence: eight bits for each of its parts.

Zhu et al., "Uni-Perceiver-MoE", NeurIPS 2022, section 3.3; the bits of each kind are the released code's.
"""

from __future__ import annotations

from dataclasses import dataclass

ATTRIBUTES = 8
"""Input has pictures; has text; target has pictures; has text; token is picture; is text; of a target; is causal."""


@dataclass(frozen=True)
class Kind:
    """The kind of a sequence.

    Attributes:
        bits: of its tokens, or of those up to the picture's last.
        text_bits: of those after it, where they differ.
    """

    bits: str
    text_bits: str | None = None


PICTURE = Kind("10011000")
"""Classification and retrieval."""
NAME = Kind("10010110")
"""Class names and captions to be retrieved, as targets."""
CAPTION_PICTURE = Kind("11011000")
CAPTION_TEXT = Kind("11010101")
TEXT = Kind("01010100")
"""Masked words, text to be classified."""
WORD = Kind("11010110")
"""The vocabulary, and answers to questions, as targets."""
DETECTION = Kind("10111000")
"""A picture whose objects are to be named: ours, as the two below."""
OBJECT_NAME = Kind("10110110")
"""Names of objects, as targets."""
QUESTION = Kind("11011000", "11010100")
"""A picture and a question: nobody released such a model."""
