"""From pictures to results in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar, overload

import torch
from PIL import Image
from torch import Tensor, nn

from internimage.checkpoints.folder import DESCRIPTION_FILE
from internimage.data.samples import TimeAndPlace
from internimage.errors import ConfigError, ImageReadError
from internimage.factory import create_model, load_model, other_classes
from internimage.images import FitPreprocessing, ImageInput, ImageSource, list_images
from internimage.images.reader import ImageInputs
from internimage.inference.views import (
    Detector,
    MakeViews,
    Segmenter,
    TestTimeAugmentation,
    Views,
    detect_views,
    segment_views,
)
from internimage.layers.segmentation import Window
from internimage.models.classifier import ImageClassifier
from internimage.results import Classification, Detections, Segmentation
from internimage.tasks import classification

Result: TypeAlias = Classification | Detections | Segmentation


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The named device; "auto" is the first CUDA device if there is one, else the CPU."""
    if str(device) != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_for_inference(
    model: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None,
    labels: Literal["imagenet1k"] | None,
    device: str | torch.device,
    dtype: torch.dtype | None,
) -> nn.Module:
    """A model by name or folder, with the given or else the released weights, on ``device``."""
    place = choose_device(device)
    if (Path(model) / DESCRIPTION_FILE).is_file():
        if checkpoint is not None or labels is not None:
            raise ConfigError(f"{model} is a model folder; checkpoint and labels belong to a model given by name")
        return load_model(model, device=place, dtype=dtype)
    return create_model(
        str(model),
        pretrained=checkpoint is None,
        checkpoint=checkpoint,
        num_classes=None if checkpoint is None or labels else other_classes(str(model), checkpoint),
        labels=labels,
        device=place,
        dtype=dtype,
    )


T = TypeVar("T")


class ImageLoader(Generic[T]):
    """Reads and prepares images in batches, one batch ahead of the model, in threads.

    Iterating gives, for each batch, pairs of a source and what ``prepare`` makes of the picture, or the error of one
    that cannot be read.
    """

    def __init__(self, sources: list[ImageSource], prepare: Callable[[Image.Image], T], batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        self.sources = sources
        self.prepare = prepare
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[ImageSource, T | ImageReadError]]]:
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="internimage-read") as pool:
            ahead: list[tuple[ImageSource, Future[T | ImageReadError]]] = []
            for start in range(0, len(self.sources) + self.batch_size, self.batch_size):
                ready = ahead
                chunk = self.sources[start : start + self.batch_size]
                ahead = [(source, pool.submit(self._load, source)) for source in chunk]
                if ready:
                    yield [(source, future.result()) for source, future in ready]

    def _load(self, source: ImageSource) -> T | ImageReadError:
        try:
            return self.prepare(source.read())
        except ImageReadError as error:
            return error


class Predictor:
    """Preprocessing, model and postprocessing behind one call.

    Args:
        model: a name of :func:`internimage.list_models`, a folder written by :func:`internimage.save_model`, or a
            model made by :func:`internimage.create_model`.
        checkpoint: weights for the named model; without it the released weights are used, and fetched if need be.
        labels: "imagenet1k" reduces a 21,841-way classifier to ImageNet-1K's classes.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: dtype of the parameters; float32 by default, torch.bfloat16 or torch.float16 save memory.
        batch_size: images a forward pass.
        augmentation: let a detector or segmenter look at each picture several times.
        window: let a segmenter look at pictures part by part; "model" does as it was made for, None takes the whole.
        keep_scores: let results of a segmenter have the probabilities of all classes, which may take gigabytes.

    Results are :class:`internimage.results.Classification`, :class:`internimage.results.Detections` or
    :class:`internimage.results.Segmentation`, whatever the model is made for.

    Example::

        predict = internimage.Predictor("internimage_t_1k_224")
        result = predict("street.jpg")
        result.top(5), result.draw().save("street.annotated.png")
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | nn.Module,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        labels: Literal["imagenet1k"] | None = None,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
        augmentation: TestTimeAugmentation | None = None,
        window: Window | Literal["model"] | None = "model",
        keep_scores: bool = False,
    ) -> None:
        if isinstance(model, nn.Module):
            if checkpoint is not None or labels is not None:
                raise ConfigError("checkpoint and labels belong to a model given by name")
            place = None if str(device) == "auto" else choose_device(device)
            built = model.to(device=place, dtype=dtype).eval()
        else:
            built = load_for_inference(model, checkpoint, labels, device, dtype)
        if not isinstance(built, ImageClassifier | Detector | Segmenter) or not built.config.num_classes:
            raise ConfigError(f"a {type(built).__name__} without a classifier cannot predict; use extract_features")
        if built.description is None or built.description.preprocessing is None:
            raise ConfigError("the model does not say how its images are prepared; build it with create_model")
        if augmentation is not None and isinstance(built, ImageClassifier):
            raise ConfigError("test-time augmentation is for detectors and segmenters; leave it out")
        if (keep_scores or window != "model") and not isinstance(built, Segmenter):
            raise ConfigError("window and keep_scores are for segmenters; leave them out")
        if not isinstance(window, Window | None) and window != "model":
            raise ConfigError(
                f"window is {window!r}; expected a Window((height, width), (row step, column step)) or None"
            )
        self.model = built
        self.preprocessing = built.description.preprocessing
        self.labels = built.description.labels
        self.palette = built.description.palette
        self.augmentation = augmentation
        self.window = window
        self.keep_scores = keep_scores
        self.batch_size = batch_size

    @overload
    def __call__(self, images: list[ImageInput]) -> list[Result]: ...
    @overload
    def __call__(self, images: ImageInputs) -> Result | list[Result]: ...
    def __call__(self, images: ImageInputs) -> Result | list[Result]:
        """Predict one image or many.

        Args:
            images: anything that :func:`internimage.images.list_images` takes: a path, URL, bytes, PIL image, RGB array
                or tensor; or a folder, a glob pattern, a batch, or a list of these.

        Returns:
            One result for a single image, a list for all else.

        Raises:
            ImageReadError: an image cannot be read.  :meth:`stream` goes on instead.
        """
        sources = list_images(images)
        results = []
        for _, result in self.stream(sources):
            if isinstance(result, ImageReadError):
                raise result
            results.append(result)
        single = len(sources) == 1 and sources[0].value is images
        return results[0] if single else results

    def stream(
        self, images: ImageInputs, taken: Sequence[TimeAndPlace | None] | None = None
    ) -> Iterator[tuple[ImageSource, Result | ImageReadError]]:
        """Yield (source, result) in order while the work goes on; an image that cannot be read yields its error.

        ``taken`` says of each image when and where it was taken, for models that read it (``metadata_channels``).
        """
        listed = list_images(images)
        if taken is not None and len(taken) != len(listed):
            raise ConfigError(f"time and place of {len(taken)} photos for {len(listed)} images; expected one each")
        if isinstance(self.model, ImageClassifier):
            return self._classify(self.model, listed, taken or [None] * len(listed))
        return self._look(self.model, listed)

    def _classify(
        self, model: ImageClassifier, images: list[ImageSource], taken: Sequence[TimeAndPlace | None]
    ) -> Iterator[tuple[ImageSource, Result | ImageReadError]]:
        known = iter(taken)
        metadata = model.config.metadata_channels is not None
        for loaded in ImageLoader(images, self.preprocessing, self.batch_size):
            # strict would ask the iterator for one more than the batch
            pairs = zip(loaded, known, strict=False)
            good = [(source, tensor, when) for (source, tensor), when in pairs if isinstance(tensor, Tensor)]
            results: Iterator[Classification] = iter(())
            if good:
                sources, tensors, times = zip(*good, strict=True)
                batch = classification.stack(tensors, sources, times if metadata else None)
                results = iter(classification.predict(model, batch, self.labels))
            for source, tensor in loaded:
                yield source, tensor if isinstance(tensor, ImageReadError) else next(results)

    def _look(
        self, model: Detector | Segmenter, images: list[ImageSource]
    ) -> Iterator[tuple[ImageSource, Result | ImageReadError]]:
        assert isinstance(self.preprocessing, FitPreprocessing)
        labels = self.labels or tuple(f"class {index}" for index in range(model.config.num_classes))
        flip = self.augmentation is not None and self.augmentation.flip
        for loaded in ImageLoader(images, MakeViews(self.preprocessing, self.augmentation), self.batch_size):
            good = [(source, views) for source, views in loaded if isinstance(views, Views)]
            results: Iterator[Result] = iter(())
            if good:
                sources, seen = zip(*good, strict=True)
                if isinstance(model, Detector):
                    results = iter(detect_views(model, seen, sources, labels, flip=flip))
                else:
                    results = segment_views(
                        model,
                        seen,
                        sources,
                        labels,
                        self.palette,
                        flip=flip,
                        window=model.config.window if self.window == "model" else self.window,
                        keep_scores=self.keep_scores,
                    )
            for source, views in loaded:
                yield source, views if isinstance(views, ImageReadError) else next(results)
