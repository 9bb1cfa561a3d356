"""Feature maps as pictures."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor


def principal_components(features: Tensor) -> Image.Image:
    """Show a feature map (C, H, W) as H x W pixels whose red, green and blue are its three main directions.

    Directions are those of largest variance over this one map; each is stretched from its 1st to its 99th percentile.
    """
    channels, height, width = features.shape
    points = features.detach().float().cpu().reshape(channels, -1).T
    points = points - points.mean(0)
    count = min(3, channels, points.shape[0])
    _, directions = torch.linalg.eigh(points.T @ points)
    directions = directions.flip(-1)[:, :count]
    # a direction's sign is arbitrary: make its largest entry positive, so that pictures are reproducible
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    projected = points @ (directions * largest.sign())
    low, high = (torch.quantile(projected, q, dim=0) for q in (0.01, 0.99))
    scaled = ((projected - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    pixels = torch.zeros(height * width, 3)
    pixels[:, :count] = scaled
    return Image.fromarray((pixels.view(height, width, 3) * 255).round().to(torch.uint8).numpy())
