"""Colours of pictures varied in training, as SSD (Liu et al., ECCV 2016) does it, on the values of pixels."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Pixels: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"
_BRIGHTNESS = 32.0
_FACTOR = (0.5, 1.5)  # of contrast and saturation
_HUE = 18.0  # degrees


def vary_colours(pixels: Pixels, generator: np.random.Generator) -> Pixels:
    """A picture with other brightness, contrast, saturation, hue and order of channels, each in half of the cases.

    Args:
        pixels: (3, h, w) float32 RGB in [0, 255].
        generator: draws what is done.

    Returns:
        A new array; values may leave the range, as in the released code.
    """
    varied = pixels.copy()
    if _half(generator):
        varied += np.float32(generator.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    contrast_last = _half(generator)
    contrast = np.float32(generator.uniform(*_FACTOR)) if _half(generator) else None
    if contrast is not None and not contrast_last:
        varied *= contrast
    if _half(generator):
        varied = with_saturation(varied, generator.uniform(*_FACTOR))
    if _half(generator):
        varied = with_hue(varied, generator.uniform(-_HUE, _HUE))
    if contrast is not None and contrast_last:
        varied *= contrast
    if _half(generator):
        varied = varied[generator.permutation(3)]
    return varied


def with_saturation(pixels: Pixels, factor: float) -> Pixels:
    """The saturation in HSV times a factor: every channel (3, h, w) away from the largest, which stays."""
    largest = pixels.max(axis=0)
    return largest - (largest - pixels) * np.float32(factor)


def with_hue(pixels: Pixels, degrees: float) -> Pixels:
    """The hue in HSV turned by some degrees; (3, h, w) RGB of any range."""
    red, green, blue = pixels
    largest, smallest = pixels.max(axis=0), pixels.min(axis=0)
    chroma = largest - smallest
    safe = np.where(chroma > 0, chroma, np.float32(1))
    sixth = np.where(  # of the circle, from red
        largest == red,
        (green - blue) / safe,
        np.where(largest == green, (blue - red) / safe + np.float32(2), (red - green) / safe + np.float32(4)),
    )
    sixth += np.float32(degrees / 60)
    turned = np.empty_like(pixels)
    for channel, place in enumerate((5, 3, 1)):
        away = (sixth + np.float32(place)) % np.float32(6)
        turned[channel] = largest - chroma * np.clip(np.minimum(away, 4 - away), 0, 1)
    return turned


def _half(generator: np.random.Generator) -> bool:
    return bool(generator.random() < 0.5)
