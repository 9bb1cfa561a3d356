"""What a segmenter says of views of a picture, and the class of every pixel that follows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from internimage.images import ImageSource
from internimage.inference.blame import raise_named
from internimage.layers.finite import is_finite
from internimage.layers.segmentation import resize
from internimage.results.segmentation import Segmentation
from internimage.settings.views import Window

Crop: TypeAlias = tuple[int, int, int, int]

PIXELS_AT_ONCE = 16 << 20  # pixels of all classes that are enlarged at a time: 64 MB


@dataclass(frozen=True)
class View:
    """What a model says of one view of a picture.

    Attributes:
        parts: top, left, bottom, right in the view, and the logits (K, h, w) of this part at whatever size.
        size: (height, width) of the view.
        mirrored: whether the view is the picture's mirror image.
    """

    parts: tuple[tuple[Crop, Tensor], ...]
    size: tuple[int, int]
    mirrored: bool = False

    def logits(self, channels: slice, size: tuple[int, int]) -> Tensor:
        """Some classes (k, height, width), enlarged to the view and then to ``size``; parts that overlap averaged."""
        _, first = self.parts[0]
        height, width = self.size
        if len(self.parts) == 1:
            whole = resize(first[None, channels], self.size)
        else:
            whole = first.new_zeros(1, len(first[channels]), height, width)
            visits = first.new_zeros(1, 1, height, width)
            for (top, left, bottom, right), part in self.parts:
                whole[..., top:bottom, left:right] += resize(part[None, channels], (bottom - top, right - left))
                visits[..., top:bottom, left:right] += 1
            whole = whole / visits
        enlarged = resize(whole, size)[0]
        return enlarged.flip(2) if self.mirrored else enlarged


@torch.inference_mode()
def predict_views(
    model: Any, images: Sequence[Tensor], window: Window | None, *, mirrored: bool = False, in_step: bool = False
) -> list[View]:
    """What a model says of each image (3, H_i, W_i), as a whole or part by part.

    Parts of equal size run together, as many as there are images.  ``in_step``: as many forward passes as the process
    that needs most, because a sharded model waits in each.
    """
    weight = next(model.parameters())
    seen = [image.flip(2) if mirrored else image for image in images]
    pending: dict[tuple[int, int], list[tuple[int, Crop]]] = defaultdict(list)
    for index, image in enumerate(seen):
        height, width = image.shape[1:]
        for part in window.parts(height, width) if window else [(0, 0, height, width)]:
            pending[part[2] - part[0], part[3] - part[1]].append((index, part))
    passes = [
        parts[start : start + len(seen)] for parts in pending.values() for start in range(0, len(parts), len(seen))
    ]
    found: list[list[tuple[Crop, Tensor]]] = [[] for _ in seen]

    def run(some: Sequence[tuple[int, Crop]]) -> Tensor:
        pixels = torch.stack([seen[i][:, top:bottom, left:right] for i, (top, left, bottom, right) in some])
        return model(pixels.to(weight.device, weight.dtype), coarse=True).float()

    for some in passes:
        logits = run(some)
        for (index, part), one in zip(some, logits, strict=True):
            found[index].append((part, one))
    if in_step:
        most = torch.tensor(len(passes), device=weight.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        for _ in range(int(most) - len(passes)):
            run(passes[0])
    if not is_finite(part for parts in found for _, part in parts):  # once, after all passes are under way
        raise_named(model, lambda: [run(some) for some in passes])
    return [
        View(tuple(parts), (image.shape[1], image.shape[2]), mirrored) for parts, image in zip(found, seen, strict=True)
    ]


@torch.inference_mode()
def decode(
    views: Sequence[View],
    original: tuple[int, int],
    source: ImageSource,
    labels: tuple[str, ...],
    palette: tuple[tuple[int, int, int], ...] | None,
    *,
    keep_scores: bool = False,
) -> Segmentation:
    """The most probable class of every pixel; probabilities are averaged over views.

    Classes are enlarged a few at a time: all of ADE20K's for a picture of 12 megapixels would fill 7 GB.
    """
    classes = len(labels)
    chunks = list(_chunks(classes, original))
    scores = None
    if len(views) == 1 and not keep_scores:
        label_map, confidence = _best(views[0], chunks, original)
    else:
        label_map, confidence, scores = _best_of_mean(views, chunks, original, keep_scores)
    return Segmentation(
        label_map=label_map.to(torch.uint8 if classes <= 256 else torch.int32).cpu().numpy(),
        confidence=confidence.cpu().numpy(),
        names=labels,
        source=source,
        palette=palette,
        scores=scores,
    )


def _best(view: View, chunks: Sequence[slice], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Class and probability of each pixel in one pass over the classes."""
    device = view.parts[0][1].device
    best = torch.full(size, -torch.inf, device=device)
    total, label_map = best.clone(), torch.zeros(size, dtype=torch.int64, device=device)
    for chunk in chunks:
        logits = view.logits(chunk, size)
        most, index = logits.max(0)
        better = most > best
        label_map = torch.where(better, index + chunk.start, label_map)
        best = torch.where(better, most, best)
        total = torch.logaddexp(total, logits.logsumexp(0))
    return label_map, (best - total).exp()


def _best_of_mean(
    views: Sequence[View], chunks: Sequence[slice], size: tuple[int, int], keep_scores: bool
) -> tuple[Tensor, Tensor, Any]:
    """Class and mean probability of each pixel: one pass over the classes for the sums, one for the probabilities."""
    device = views[0].parts[0][1].device
    totals = []
    for view in views:
        total = torch.full(size, -torch.inf, device=device)
        for chunk in chunks:
            total = torch.logaddexp(total, view.logits(chunk, size).logsumexp(0))
        totals.append(total)
    best = torch.full(size, -1.0, device=device)
    label_map = torch.zeros(size, dtype=torch.int64, device=device)
    kept = []
    for chunk in chunks:
        scores = torch.zeros((), device=device)
        for view, total in zip(views, totals, strict=True):
            scores = scores + (view.logits(chunk, size) - total).exp()
        scores = scores / len(views)
        most, index = scores.max(0)
        better = most > best
        label_map = torch.where(better, index + chunk.start, label_map)
        best = torch.where(better, most, best)
        if keep_scores:
            kept.append(scores.cpu())
    return label_map, best, torch.cat(kept).numpy() if keep_scores else None


def _chunks(classes: int, size: tuple[int, int]) -> Iterator[slice]:
    step = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    return (slice(start, min(start + step, classes)) for start in range(0, classes, step))
