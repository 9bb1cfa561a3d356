"""From pictures to results in one call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn

from internimage.checkpoints.folder import DESCRIPTION_FILE
from internimage.data.samples import TimeAndPlace
from internimage.errors import ConfigError, ImageReadError
from internimage.factory import create_model, load_model
from internimage.images import ImageInput, ImageSource, Preprocessing, list_images
from internimage.images.reader import ImageInputs
from internimage.models.classifier import ImageClassifier
from internimage.results import Classification
from internimage.tasks import classification


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
        labels=labels,
        device=place,
        dtype=dtype,
    )


class ImageLoader:
    """Reads and preprocesses images in batches, one batch ahead of the model, in threads.

    Iterating gives, per batch, the (source, tensor) pairs that could be read and the errors of those that could not.
    """

    def __init__(self, sources: list[ImageSource], preprocessing: Preprocessing, batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        self.sources = sources
        self.preprocessing = preprocessing
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[tuple[ImageSource, Tensor | ImageReadError]]]:
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, thread_name_prefix="internimage-read") as pool:
            ahead: list[tuple[ImageSource, Future[Tensor | ImageReadError]]] = []
            for start in range(0, len(self.sources) + self.batch_size, self.batch_size):
                ready = ahead
                chunk = self.sources[start : start + self.batch_size]
                ahead = [(source, pool.submit(self._load, source)) for source in chunk]
                if ready:
                    yield [(source, future.result()) for source, future in ready]

    def _load(self, source: ImageSource) -> Tensor | ImageReadError:
        try:
            return self.preprocessing(source.read())
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
    ) -> None:
        if isinstance(model, nn.Module):
            if checkpoint is not None or labels is not None:
                raise ConfigError("checkpoint and labels belong to a model given by name")
            place = None if str(device) == "auto" else choose_device(device)
            built = model.to(device=place, dtype=dtype).eval()
        else:
            built = load_for_inference(model, checkpoint, labels, device, dtype)
        if not isinstance(built, ImageClassifier) or not built.num_classes:
            raise ConfigError(f"a {type(built).__name__} without a classifier cannot predict; use extract_features")
        if built.description is None or built.description.preprocessing is None:
            raise ConfigError("the model does not say how its images are prepared; build it with create_model")
        self.model = built
        self.preprocessing = built.description.preprocessing
        self.labels = built.description.labels
        self.batch_size = batch_size

    @overload
    def __call__(self, images: list[ImageInput]) -> list[Classification]: ...
    @overload
    def __call__(self, images: ImageInputs) -> Classification | list[Classification]: ...
    def __call__(self, images: ImageInputs) -> Classification | list[Classification]:
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
    ) -> Iterator[tuple[ImageSource, Classification | ImageReadError]]:
        """Yield (source, result) in order while the work goes on; an image that cannot be read yields its error.

        ``taken`` says of each image when and where it was taken, for models that read it (``metadata_channels``).
        """
        listed = list_images(images)
        if taken is not None and len(taken) != len(listed):
            raise ConfigError(f"time and place of {len(taken)} photos for {len(listed)} images; expected one each")
        known = iter(taken or [None] * len(listed))
        metadata = self.model.config.metadata_channels is not None
        for loaded in ImageLoader(listed, self.preprocessing, self.batch_size):
            # strict would ask the iterator for one more than the batch
            pairs = zip(loaded, known, strict=False)
            good = [(source, tensor, when) for (source, tensor), when in pairs if isinstance(tensor, Tensor)]
            results: Iterator[Classification] = iter(())
            if good:
                sources, tensors, times = zip(*good, strict=True)
                batch = classification.stack(tensors, sources, times if metadata else None)
                results = iter(classification.predict(self.model, batch, self.labels))
            for source, tensor in loaded:
                yield source, tensor if isinstance(tensor, ImageReadError) else next(results)
