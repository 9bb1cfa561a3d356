"""From pictures to results in one call."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from torch import nn

from internimage.checkpoints.folder import find_model
from internimage.contracts import TaskSpec, task_spec
from internimage.description import is_exported
from internimage.errors import ConfigError
from internimage.factory import create_model, load_model, other_classes
from internimage.inference.blame import check_weights
from internimage.inference.runner import Runner
from internimage.inference.twin import evaluating_twin
from internimage.machine import answer_in_forked_children, choose_device, choose_dtype
from internimage.registry import ARCHITECTURES, architecture_of
from internimage.settings.depth import Depth
from internimage.settings.views import PredictionOptions, TestTimeAugmentation, Tiles, Window


def load_for_inference(
    model: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str] | None,
    labels: Literal["imagenet1k"] | None,
    device: str | torch.device,
    dtype: torch.dtype | None,
) -> nn.Module:
    """A model by name or folder, with the given or else the released weights, on ``device``."""
    if not isinstance(model, str | os.PathLike):
        raise ConfigError(f"expected the name of a model, a folder or a module, got {type(model).__name__}")
    if is_exported(model):
        raise ConfigError(f"{model} is an exported file: internimage.ExportedPredictor, and predict, run it")
    place = choose_device(device)
    if (folder := find_model(model)) is not None:
        if checkpoint is not None or labels is not None:
            raise ConfigError(f"{model} is a model folder; checkpoint and labels belong to a model given by name")
        return load_model(folder, device=place, dtype=dtype)
    return create_model(
        str(model),
        pretrained=checkpoint is None,
        checkpoint=checkpoint,
        num_classes=None if checkpoint is None or labels else other_classes(str(model), checkpoint),
        labels=labels,
        device=place,
        dtype=dtype,
    )


class Predictor(Runner):
    """Preprocessing, model and postprocessing behind one call.

    Args:
        model: a name of :func:`internimage.list_models`, a folder written by :func:`internimage.save_model`, the
            folder of a run, which stands for its best model, or a model made by :func:`internimage.create_model`,
            which may be learning meanwhile: it keeps its mode, device and dtype.
        checkpoint: weights for the named model; without it the released weights are used, and fetched if need be.
        labels: "imagenet1k" reduces a 21,841-way classifier to ImageNet-1K's classes.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: dtype of the parameters; torch.bfloat16 or torch.float16 save memory.  None for float32, or for what a
            given model has.
        batch_size: images per forward pass.
        augmentation: test-time augmentation, for detectors and segmenters.
        window: sliding windows of a segmenter; "model" does what it was trained for, None predicts the whole image.
        keep_scores: keep the probabilities of all classes in a segmenter's results, which may take gigabytes.
        max_objects: greatest number of objects that a detector reports of an image, or of each tile; None for the
            model's own.
        depth: how pixels of more than 8 bits are read; None as the model was trained.
        tiles: see large pictures in tiles, for detectors; ``batch_size`` is then that of tiles.
        soft_nms: lower the scores of boxes that overlap a better one, instead of dropping them; for R-CNNs.

    A process that has made one sets PyTorch to one thread in processes that it forks, where OpenMP would wait for ever.

    Results are :class:`internimage.Classification`, :class:`internimage.Detections` or
    :class:`internimage.Segmentation`, whatever the model is made for.

    Attributes:
        model: the module, in evaluation mode; it shares the tensors of a model that was given, unless they are on
            another device or of another dtype.
        spec: the task that it is made for.
        pipeline: what runs it.

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
        max_objects: int | None = None,
        depth: Depth | None = None,
        tiles: Tiles | None = None,
        soft_nms: bool = False,
    ) -> None:
        options = PredictionOptions(augmentation, window, keep_scores, max_objects, depth, tiles, soft_nms)
        if isinstance(model, nn.Module):
            if checkpoint is not None or labels is not None:
                raise ConfigError("checkpoint and labels belong to a model given by name")
            place = None if str(device) == "auto" else choose_device(device)
            built: Any = evaluating_twin(model, place, None if dtype is None else choose_dtype(dtype))
        else:
            built = load_for_inference(model, checkpoint, labels, device, dtype)
        check_weights(built)
        answer_in_forked_children()
        self.model = built
        self.spec = _task_of(built)
        self._run_with(self.spec.pipeline(built, options), tiles, batch_size)
        self.preprocessing = built.description.preprocessing.seen_with(depth)
        self.labels: tuple[str, ...] | None = built.description.labels
        self.category_ids: tuple[int | str, ...] | None = built.description.category_ids
        self.palette = built.description.palette


def _task_of(model: nn.Module) -> TaskSpec:
    """The task that a model is made for."""
    try:
        task = ARCHITECTURES[architecture_of(type(model))].task
    except ConfigError:
        task = None
    if task is None:
        raise ConfigError(
            f"a {type(model).__name__} alone predicts nothing; expected a classifier, detector or segmenter (train one "
            "that starts from it: --init)"
        )
    return task_spec(task)
