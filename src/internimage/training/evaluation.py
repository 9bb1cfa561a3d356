"""Evaluation of a model in training, by all of its processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from internimage.contracts import Task
from internimage.data.dataset import batches
from internimage.data.samples import EvaluationSample
from internimage.data.sampling.sampler import SampleKey
from internimage.errors import InternImageError
from internimage.inference.evaluation import measure, predict_samples
from internimage.training.processes import end_together


def evaluate(
    task: Task,
    model: nn.Module,
    loader: DataLoader[list[EvaluationSample]],
    accelerator: Any,
    *,
    in_step: bool = False,
    divided: bool = False,
) -> dict[str, float]:
    """Numbers of a model over the batches of this process, merged over all processes.

    Args:
        task, model, loader, accelerator: of the run.
        in_step: see :meth:`internimage.contracts.Task.pipeline`.
        divided: whether each process has a part of the model, so that they wait for each other in forward passes.

    Raises:
        InternImageError: an image cannot be read; where another process found that, :class:`TrainingError` tells of it.
    """
    several = accelerator.num_processes > 1
    if several:
        from accelerate.utils import gather_object

        most = max(gather_object([len(loader)]))
    model.eval()
    pipeline = task.pipeline(model, in_step=in_step)
    report = task.report(pipeline)
    failure: InternImageError | None = None
    try:
        with closing(batches(loader)) as samples:
            measure(pipeline, samples, report)
    except InternImageError as error:
        if not several or divided:  # the others wait in a forward pass, where nobody can tell them
            raise
        failure = error
    if several:
        # a sharded model waits in each forward pass, so processes with fewer batches take part in the others' too
        for _ in range(most - len(loader) if divided else 0):
            sample: Any = loader.dataset[SampleKey(0, 0)]
            list(predict_samples(pipeline, [sample]))
        end_together(failure)
        report.merge(gather_object([report.state()]))
    return report.compute()


def out_of_patience(history: Sequence[Mapping[str, Any]], best: str, patience: int) -> bool:
    """Whether ``patience`` evaluations in a row, if that is not 0, gave no better number called ``best``."""
    values = [row.get(best, -math.inf) for row in history]
    return bool(values) and 0 < patience <= len(values) - 1 - values.index(max(values))
