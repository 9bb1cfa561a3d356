"""Pictures through a pipeline: one call or a stream, whatever runs the model.  No torch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from internimage.contracts import Pipeline, TaskSpec
from internimage.data.read_ahead import ReadAhead
from internimage.data.splits import Follow, unseen
from internimage.errors import ConfigError, ImageReadError
from internimage.images import FitPreprocessing, ImageInput, ImageSource, Preprocessing, list_images
from internimage.images.inputs.listing import comes_one_by_one, iterate_images
from internimage.images.lazy import BinaryFile
from internimage.images.reader import ImageInputs
from internimage.inference.tiles import TiledPipeline
from internimage.settings.views import Tiles


class Runner:
    """What predicts pictures: :class:`internimage.Predictor` runs a model, ``ExportedPredictor`` an exported file.

    Attributes:
        spec: the task.
        pipeline: what runs it.
        preprocessing: how a picture is read and prepared.
        labels: names of the classes; None without any.
        category_ids: the training data's own id of each class; None without any.
        palette: colours of the classes; None for colours that are made up.
        batch_size: images that go through the pipeline together; one where it takes them in tiles.
        follow: shows the progress through the tiles of each picture, which may take minutes.
    """

    spec: TaskSpec
    pipeline: Pipeline
    preprocessing: Preprocessing | FitPreprocessing
    labels: tuple[str, ...] | None
    category_ids: tuple[int | str, ...] | None
    palette: tuple[tuple[int, int, int], ...] | None
    batch_size: int
    follow: Follow = staticmethod(unseen)

    def _run_with(self, pipeline: Pipeline, tiles: Tiles | None, batch_size: int) -> None:
        """Set the pipeline, or one that takes pictures in tiles, so many of them per forward pass."""
        self.pipeline = pipeline
        if tiles is not None:
            self.pipeline = TiledPipeline(pipeline, self.spec, tiles, batch_size, lambda *tiles: self.follow(*tiles))
        self.batch_size = batch_size if tiles is None else 1

    @overload
    def __call__(self, images: list[ImageInput]) -> list[Any]: ...
    @overload
    def __call__(self, images: ImageInputs) -> Any: ...
    def __call__(self, images: ImageInputs) -> Any:
        """Predict one image or many.

        Args:
            images: anything that :func:`internimage.images.list_images` takes: a path, URL, bytes, file object, PIL
                image, RGB array or tensor; or a folder, a glob pattern, a batch, or a list or an iterator of these.

        Returns:
            One result for a single image, a list for all else.

        Raises:
            ImageReadError: an image cannot be read.  :meth:`stream` goes on instead.
            NonFiniteError: the network's output is NaN or infinite; the message names the layer.
        """
        sources = images if comes_one_by_one(images) else self.listed(images)
        results = []
        for source, result in self.stream(sources):
            if isinstance(result, ImageReadError):
                raise result
            results.append(result)
            single = source.value is images or isinstance(images, ImageSource | BinaryFile)
        return results[0] if len(results) == 1 and single else results

    def stream(
        self, images: ImageInputs, taken: Iterable[Any] | None = None
    ) -> Iterator[tuple[ImageSource, Any | ImageReadError]]:
        """Yield (source, result) in order while the work goes on; an image that cannot be read yields its error.

        Args:
            images: as for a call.  An iterator, such as a generator of a camera's frames, may be endless and is taken
                as the work goes on, in a thread of its own: beside the batch that is worked on, at most one more.
                Results come when their batch is done, soonest with ``batch_size=1``.  An error that the iterator
                raises comes as it is, after the results of what it gave before.
            taken: of each image when and where it was taken (:class:`internimage.data.samples.TimeAndPlace`), for
                models that read it (``metadata_channels``).

        Raises:
            ConfigError: ``taken`` is not of as many images as there are; of iterators, when the first of them ends.
        """
        sources: Iterable[ImageSource]
        if comes_one_by_one(images):
            sources = iterate_images(images)
        else:
            sources = listed = self.listed(images)
            taken = None if taken is None else list(taken)
            if taken is not None and len(taken) != len(listed):
                raise ConfigError(f"time and place of {len(taken)} photos for {len(listed)} images; expected one each")
        return self._stream(_with_each(sources, taken))

    def listed(self, images: ImageInputs) -> list[ImageSource]:
        """What ``images`` stand for: :func:`internimage.images.list_images`, or what the task has instead of pictures.

        Raises:
            ImageReadError, DataError: there is nothing, or nothing of the task's.
        """
        return inputs_of(self.spec, images)

    def prepare(self, source: ImageSource) -> Any:
        """Read a picture and make of it what :meth:`run` takes; any thread may, while the model is at work.

        Raises:
            ImageReadError: it cannot be read.
        """
        return self.pipeline.prepare(self.pipeline.read(source))

    def run(self, prepared: Sequence[Any], sources: Sequence[ImageSource], taken: Sequence[Any] = ()) -> list[Any]:
        """The results of prepared pictures, which go through the model together; one thread at a time.

        Args:
            prepared: see :meth:`prepare`.
            sources: the pictures.
            taken: see :meth:`stream`; none for none.

        Raises:
            NonFiniteError: the network's output is NaN or infinite; the message names the layer.
        """
        return list(self.pipeline.predict(prepared, sources, taken or [None] * len(sources)))

    def _stream(self, pairs: Iterable[tuple[ImageSource, Any]]) -> Iterator[tuple[ImageSource, Any | ImageReadError]]:
        def load(pair: tuple[ImageSource, Any]) -> Any:
            return self.prepare(pair[0])

        for loaded in ReadAhead(pairs, load, self.batch_size):
            good = [(*pair, prepared) for pair, prepared in loaded if not isinstance(prepared, ImageReadError)]
            results: Iterator[Any] = iter(())
            if good:
                sources, told, prepared = zip(*good, strict=True)
                results = iter(self.pipeline.predict(prepared, sources, told))
            for (source, _), outcome in loaded:
                yield source, outcome if isinstance(outcome, ImageReadError) else next(results)


def inputs_of(spec: TaskSpec, images: ImageInputs) -> list[ImageSource]:
    """See :meth:`Runner.listed`."""
    if spec.inputs is None:
        return list_images(images)
    several = images if isinstance(images, list | tuple) else [images]
    sources: list[ImageSource] = []
    for one in several:
        if isinstance(one, ImageSource):
            sources.append(one)
        elif isinstance(one, str | os.PathLike):
            sources += spec.inputs(os.fspath(one))
        else:
            raise ImageReadError(
                f"expected a path to {spec.data_noun}, for a {spec.model_noun}; got {type(one).__name__}"
            )
    return sources


def _with_each(sources: Iterable[ImageSource], taken: Iterable[Any] | None) -> Iterator[tuple[ImageSource, Any]]:
    if taken is None:
        yield from zip(sources, itertools.repeat(None), strict=False)
        return
    told = iter(taken)
    for number, source in enumerate(sources):
        one = list(itertools.islice(told, 1))
        if not one:
            raise ConfigError(f"time and place of {number} photos for more images; expected one each")
        yield source, one[0]
    if list(itertools.islice(told, 1)):
        raise ConfigError("time and place of more photos than there are images; expected one each")
