"""Large pictures tile by tile: each is a picture of its own to the pipeline, and the task unites results.  No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from internimage.contracts import Pipeline, TaskSpec, Window
from internimage.data.read_ahead import ReadAhead
from internimage.data.splits import Follow, unseen
from internimage.errors import ConfigError, ImageReadError
from internimage.images import ImageSource
from internimage.images.channels import AnyImage
from internimage.settings.views import Tiles
from internimage.structures.slicing import slices


class TiledPipeline:
    """See :class:`internimage.contracts.Pipeline`.

    A picture's tiles are prepared in threads, one batch ahead of the model, so that memory holds the picture, two
    batches of tiles and the results.

    Args:
        pipeline: what predicts a tile.
        spec: its task.
        tiles: see there.
        batch_size: tiles per forward pass.
        follow: shows the progress through the tiles of each picture.

    Raises:
        ConfigError: results of the task cannot be merged.
    """

    def __init__(
        self, pipeline: Pipeline, spec: TaskSpec, tiles: Tiles, batch_size: int, follow: Follow = unseen
    ) -> None:
        if spec.merge is None:
            raise ConfigError(f"tiles of a picture make no single result of a {spec.model_noun}; leave them out")
        self.pipeline, self.merge, self.tiles = pipeline, spec.merge, tiles
        self.batch_size, self.follow = batch_size, follow
        self.labels, self.classes = pipeline.labels, pipeline.classes
        self.read: Callable[[ImageSource], AnyImage] = pipeline.read

    def __getattr__(self, name: str) -> Any:
        """What else the task's report asks of its pipeline."""
        if name.startswith("_") or "pipeline" not in vars(self):  # copies ask before there is anything
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def prepare(self, image: AnyImage) -> AnyImage:
        """The picture as it is: its tiles together may be many times as large."""
        return image

    def predict(
        self, prepared: Sequence[AnyImage], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Any]:
        for image, source, told in zip(prepared, sources, known, strict=True):
            yield self._predict(image, source, told)

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """What is seen of a picture of this (height, width); the whole of it first."""
        side, overlap = self.tiles.size, self.tiles.overlap
        if max(size) <= side:
            return [(0, 0, size[1], size[0])]
        tiles = [(x1, y1, x2, y2) for x1, y1, x2, y2 in slices(size, (side, side), (overlap, overlap)).tolist()]
        return [(0, 0, size[1], size[0]), *tiles] if self.tiles.whole else tiles

    def _predict(self, image: AnyImage, source: ImageSource, known: Any) -> Any:
        size = image.height, image.width
        windows = self.windows(size)
        results: list[Any] = []
        following = iter(self.follow(windows, len(windows), "tiles"))
        for batch in ReadAhead(windows, lambda window: self.pipeline.prepare(_part(image, window)), self.batch_size):
            seen = []
            for _, prepared in batch:
                if isinstance(prepared, ImageReadError):
                    raise prepared
                seen.append(prepared)
                next(following, None)
            results += self.pipeline.predict(seen, [source] * len(seen), [known] * len(seen))
        next(following, None)
        return results[0] if len(windows) == 1 else self.merge(results, windows, size, source, self.tiles)


def _part(image: AnyImage, window: Window) -> AnyImage:
    return image if window == (0, 0, image.width, image.height) else image.crop(window)
