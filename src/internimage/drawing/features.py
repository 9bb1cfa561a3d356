"""Feature maps as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def principal_components(features: np.ndarray[Any, Any]) -> Image.Image:
    """Show a feature map (C, H, W) as H x W pixels whose red, green and blue are its three main directions.

    Directions are those of largest variance over this one map; each is stretched from its 1st to its 99th percentile.
    """
    channels, height, width = features.shape
    points = np.asarray(features, np.float32).reshape(channels, -1).T
    points = points - points.mean(0)
    count = min(3, channels, points.shape[0])
    _, directions = np.linalg.eigh(points.T @ points)
    directions = directions[:, ::-1][:, :count]
    # a direction's sign is arbitrary: make its largest entry positive, so that pictures are reproducible
    largest = np.take_along_axis(directions, np.abs(directions).argmax(0, keepdims=True), axis=0)
    projected = points @ (directions * np.sign(largest))
    low, high = (np.quantile(projected, share, axis=0) for share in (0.01, 0.99))
    scaled = ((projected - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    pixels = np.zeros((height * width, 3), np.float32)
    pixels[:, :count] = scaled
    return Image.fromarray((pixels.reshape(height, width, 3) * 255).round().astype(np.uint8))
