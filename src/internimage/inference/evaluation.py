"""Measuring a model on a data set: the one loop that ``evaluate`` and the trainer share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from internimage.contracts import Pipeline, Report, TaskSpec, task_spec
from internimage.data.checking import pixel_notes
from internimage.data.left_out import refuse_much
from internimage.data.read_ahead import ReadAhead
from internimage.data.recognition import unrecognised
from internimage.data.samples import EvaluationSample, Part, evaluation_sample, with_advice
from internimage.data.splits import choose_part
from internimage.errors import ConfigError, DataError, ImageReadError
from internimage.inference.runner import Runner
from internimage.registry import TASKS
from internimage.settings.data import DataOptions
from internimage.settings.depth import Depth
from internimage.settings.views import ReportOptions, TestTimeAugmentation, Tiles

if TYPE_CHECKING:
    import torch
    from torch import nn

    from internimage.data.dataset import OnCorrupt


def evaluate(
    data: str | os.PathLike[str],
    model: str | os.PathLike[str] | nn.Module | Runner | None = None,
    *,
    predictions: str | os.PathLike[str] | None = None,
    part: str | None = None,
    score_threshold: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: Literal["imagenet1k"] | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    batch_size: int = 8,
    augmentation: TestTimeAugmentation | None = None,
    on_corrupt: OnCorrupt = "error",
    reading: DataOptions | None = None,
    max_objects: int | None = None,
    depth: Depth | None = None,
    tiles: Tiles | None = None,
    soft_nms: bool = False,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Report:
    """Evaluate a model, or results of any tool, on labelled images, as ``internimage evaluate`` does.

    Args:
        data: folder, table or archive of the model's task.
        model, checkpoint, labels, device, dtype, batch_size, augmentation, max_objects, depth, tiles, soft_nms: see
            :class:`internimage.Predictor`; instead of all of them a predictor, also of an exported file.
        predictions: instead of a model: COCO's result file (bbox, segmentation or both), results as a benchmark set has
            them (see :mod:`internimage.data.formats.set_results`), a folder of masks, or a table with the columns path,
            label and maybe score.
        part: "train", "val" or "test"; "all" is ``data`` itself, or its only part.  None is "val" where there is one,
            which is said on stderr, else "all".
        score_threshold: of detectors: minimum score of the objects that count as found or false; None for the one with
            the best F1 on these images.
        on_corrupt: "error" stops at the first file that cannot be read, "skip" leaves such files out and lists them.
        reading: how annotations are read, such as ``DataOptions(crowds="learn")``; as in training.
        progress: wraps the entries of the data, such as ``tqdm``; it receives them all and yields them one by one.

    Returns:
        A report: ``compute()`` gives the numbers, ``table()`` text, ``save(folder)`` writes numbers and charts.
        Classifiers: accuracies; detectors: COCO's average precision; segmenters: mean intersection over union.

    Raises:
        DataError: the data is of another task, has classes that the model does not know, or no image can be read.
        ImageReadError: a file cannot be read, unless ``on_corrupt`` is "skip".
    """
    if (model is None) == (predictions is None):
        raise ConfigError("pass either --model or --predictions (in Python model or predictions)")
    root, options = Path(data).expanduser(), ReportOptions(score_threshold)
    if model is None:
        assert predictions is not None
        return _measured(root, Path(predictions).expanduser(), part, reading, options)
    if isinstance(model, Runner):
        given = (checkpoint, labels, dtype, augmentation, max_objects, depth, tiles)
        if soft_nms or any(value is not None for value in given) or (device, batch_size) != ("auto", 8):
            raise ConfigError("a predictor has its weights and options; leave the others out")
        predictor = model
    else:
        from internimage.inference.predictor import Predictor

        predictor = Predictor(
            model,
            checkpoint=checkpoint,
            labels=labels,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            augmentation=augmentation,
            max_objects=max_objects,
            depth=depth,
            tiles=tiles,
            soft_nms=soft_nms,
        )
    refuse_other_data(predictor.spec, root)
    usual = reading or DataOptions()
    images = _part(predictor.spec.read_parts, root, part, usual).usable(usual)
    refuse_much(images.name, images.left_out, usual.allow_left_out)
    for note in pixel_notes(images.files, predictor.preprocessing):
        print(f"internimage: {note}", file=sys.stderr)
    return evaluate_part(predictor, images, options, on_corrupt=on_corrupt, progress=progress)


def _part(
    read_parts: Callable[[Path, str | None, DataOptions], Mapping[str, Any]],
    root: Path,
    part: str | None,
    reading: DataOptions,
) -> Any:
    """The part of this name; where none is named, the validation part if there is one."""
    parts = read_parts(root, part or "val", reading)
    if part is None and "val" in parts:
        print(f"internimage: {root}: measured on its part val (--part names another)", file=sys.stderr)
    return choose_part(parts, root, part or ("val" if "val" in parts else "all"))


def _measured(root: Path, file: Path, part: str | None, reading: DataOptions | None, options: ReportOptions) -> Report:
    """The report on results of another tool.

    What training leaves out counts, as in other evaluations, unless ``reading`` says how annotations are read.
    """
    for place, what in ((root, "data"), (file, "predictions")):
        if not place.exists():
            raise DataError(f"{place} does not exist; expected {what}")
    first = recognise(root)
    others = (spec for spec in map(task_spec, TASKS) if spec is not first and spec.reads and spec.reads(root))
    readers = [first, *others]
    for spec in readers:
        if spec.others is not None and spec.others.fits(file):
            images = _part(spec.others.read_parts, root, part, reading or DataOptions())
            return spec.others.measure(images if reading is None else images.usable(reading), file, options)
    expected = " or ".join(spec.others.noun for spec in readers if spec.others is not None) or "a model"
    raise DataError(f"{root} has {first.data_noun}, {file} is nothing to compare with them; expected {expected}")


def evaluate_part(
    predictor: Runner,
    data: Part,
    options: ReportOptions = ReportOptions(),  # noqa: B008
    *,
    on_corrupt: OnCorrupt = "error",
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Report:
    """:func:`evaluate`, of images that were found already."""
    report = predictor.spec.report(predictor.pipeline, data, options)
    report.left_out = [str(one) for one in data.left_out]
    pipeline = predictor.pipeline
    loaded = ReadAhead(
        data.entries,
        lambda entry: evaluation_sample(data, entry, pipeline.read, pipeline.prepare),
        predictor.batch_size,
    )
    following = iter(progress(data.entries))
    measured = 0

    def readable() -> Iterator[list[EvaluationSample]]:
        nonlocal measured
        for pairs in loaded:
            good = []
            for entry, sample in pairs:
                next(following, None)
                if isinstance(sample, ImageReadError):
                    if on_corrupt == "error":
                        raise with_advice(sample)
                    report.unreadable.append(data.source(entry).name)
                else:
                    good.append(sample)
            measured += len(good)
            if good:
                yield good

    measure(predictor.pipeline, readable(), report)
    next(following, None)
    if not measured:
        raise DataError(f"{data.name}: none of {len(data)} images can be read")
    return report


def measure(pipeline: Pipeline, batches: Iterable[Sequence[EvaluationSample]], report: Report) -> None:
    """Predict every image once and add it to the report."""
    for batch in batches:
        for result, sample in zip(predict_samples(pipeline, batch), batch, strict=True):
            report.add(result, sample)


def predict_samples(pipeline: Pipeline, samples: Sequence[EvaluationSample]) -> Iterable[Any]:
    """A result for each sample."""
    return pipeline.predict(
        [sample.prepared for sample in samples],
        [sample.source for sample in samples],
        [sample.measured.known for sample in samples],
    )


def recognise(root: Path, asked: str | None = None) -> TaskSpec:
    """The task whose data lie at ``root``: the one that is asked for, or the last one registered that knows them.

    Raises:
        ConfigError: no task is called so.
        DataError: none does, or that one does not.
    """
    root = root.expanduser()
    if asked is not None:
        if asked not in TASKS:
            raise ConfigError(f"no task is called {asked!r}; there are {', '.join(TASKS)}")
        refuse_other_data(task_spec(asked), root)
        return task_spec(asked)
    found = next((spec for name in reversed(TASKS) if (spec := task_spec(name)).recognise(root)), None)
    if found is None:
        raise DataError(unrecognised(root))
    return found


def refuse_moments(spec: TaskSpec, root: Path) -> None:
    """Raise :class:`DataError` if what lies at ``root`` is more than pictures, which alone the task learns from."""
    for other in map(task_spec, TASKS):
        if other is spec or other.inputs is None or not other.recognise(root):
            continue
        if spec.reads is None or not spec.reads(root):
            raise DataError(
                f"{root} has {other.data_noun}, for a {other.model_noun}; a {spec.model_noun} learns from data with "
                f"{spec.data_noun}"
            )


def refuse_other_data(spec: TaskSpec, root: Path) -> None:
    """Raise :class:`DataError` if the data at ``root`` is another task's and cannot be read for this one."""
    if not root.exists():
        raise DataError(f"there is no folder or file {root}; expected data with {spec.data_noun}")
    found = recognise(root)
    if found is not spec and not (spec.reads is not None and spec.reads(root)):
        raise DataError(f"{root} has {found.data_noun}; a {spec.model_noun} is measured on {spec.data_noun}")
