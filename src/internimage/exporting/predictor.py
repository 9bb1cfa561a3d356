"""Prediction from an exported file, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from internimage.contracts import Pipeline, PixelExport, Run, task_export, task_spec
from internimage.description import ModelDescription
from internimage.errors import ConfigError, ExportError
from internimage.exporting.runtimes import PICTURE, Exported, open_exported
from internimage.images import ImageSource
from internimage.images.channels import pixels_of
from internimage.inference.runner import Runner
from internimage.settings.depth import Depth
from internimage.settings.views import PredictionOptions, TestTimeAugmentation, Tiles, Window

if TYPE_CHECKING:
    from internimage.images.channels import AnyImage


class ExportedPredictor(Runner):
    """As :class:`internimage.Predictor`, from a file that ``internimage export`` wrote; torch is not imported.

    Args:
        file: ``.onnx`` or OpenVINO's ``.xml``; or one that is open, whatever runs it, to which ``device``,
            ``own_operators`` and ``threads`` mean nothing.
        device: "auto", "cpu", or what the runtime calls it.
        batch_size: images per run, of graphs that take several.
        own_operators: in ONNX Runtime on a CPU, run deformable operators by this package's kernels, where they are
            installed.
        threads: of the CPU; None as many as the runtime takes.
        augmentation, window, keep_scores, max_objects, depth, tiles, soft_nms: see :class:`internimage.Predictor`.

    Attributes:
        exported: the file and what runs it.
        runtime: name and version of the latter.

    Raises:
        ExportError: it is no such file, or cannot be run.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | Exported,
        *,
        device: str = "auto",
        batch_size: int = 8,
        own_operators: bool = True,
        threads: int | None = None,
        augmentation: TestTimeAugmentation | None = None,
        window: Window | Literal["model"] | None = "model",
        keep_scores: bool = False,
        max_objects: int | None = None,
        depth: Depth | None = None,
        tiles: Tiles | None = None,
        soft_nms: bool = False,
    ) -> None:
        if not isinstance(file, Exported):
            file = open_exported(os.fspath(file), device=device, own_operators=own_operators, threads=threads)
        self.exported = file
        self.runtime = self.exported.runtime
        description = self.exported.description
        if description.layers:
            raise ExportError(f"{file.file} gives features and predicts nothing; internimage features takes it")
        assert description.model.preprocessing is not None
        self.preprocessing = description.model.preprocessing.seen_with(depth)
        self.spec = task_spec(description.task)
        task = task_export(self.spec)
        if task is None:
            raise ExportError(f"{file.file} holds a {self.spec.model_noun}, which this version does not run")
        options = PredictionOptions(augmentation, window, keep_scores, max_objects, depth, tiles, soft_nms)
        pipeline: Pipeline = (
            PixelPipeline(description.model, self.exported.run, task.pixels(description.model), options)
            if description.pixels
            else task.pipeline(description, self.exported.run, options)
        )
        self.labels, self.category_ids = description.model.labels, description.model.category_ids
        self.palette = description.model.palette
        self._run_with(pipeline, tiles, batch_size)


class PixelPipeline:
    """See :class:`internimage.contracts.Pipeline`; all but reading files is in the graph."""

    def __init__(self, model: ModelDescription, run: Run, task: PixelExport, options: PredictionOptions) -> None:
        if options != PredictionOptions(depth=options.depth, tiles=options.tiles):
            raise ConfigError(
                "the file takes pixels and gives finished results: augmentation, window, scores and the number of "
                "objects are as they were exported; leave them out"
            )
        assert model.preprocessing is not None
        self.preprocessing = model.preprocessing.seen_with(options.depth)
        self.run, self.task = run, task
        self.labels, self.classes = model.labels, int(model.config["num_classes"])
        for name, value in task.asked.items():
            setattr(self, name, value)

    def read(self, source: ImageSource) -> AnyImage:
        return self.preprocessing.read(source)

    def prepare(self, picture: AnyImage) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(pixels_of(picture))

    def predict(
        self, prepared: Sequence[np.ndarray[Any, Any]], sources: Sequence[ImageSource], known: Sequence[Any]
    ) -> Iterator[Any]:
        for pixels, source in zip(prepared, sources, strict=True):
            yield self.task.result(self.run({PICTURE: pixels}), (pixels.shape[0], pixels.shape[1]), source)
