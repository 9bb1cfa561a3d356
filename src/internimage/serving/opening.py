"""A model from its name, folder or exported file, as a worker runs it."""

from __future__ import annotations

from internimage.description import is_exported
from internimage.errors import ConfigError
from internimage.inference.runner import Runner
from internimage.serving.settings import WorkerSettings


def open_runner(place: str, settings: WorkerSettings, number: int = 0) -> tuple[Runner, str]:
    """What predicts, and what runs it; exported files run without PyTorch.

    Args:
        place: see :class:`internimage.serving.settings.ServedModel`.
        settings: see there; ``threads`` as they are, 0 for what the runtime takes.
        number: of the worker; several share several GPUs.

    Raises:
        ConfigError: it is no model of single pictures.
    """
    if is_exported(place):
        from internimage.exporting.predictor import ExportedPredictor

        if settings.dtype != "float32":
            raise ConfigError(f"{place} has its precision inside; leave --dtype out")
        exported = ExportedPredictor(
            place,
            device=settings.device,
            batch_size=settings.batch,
            threads=settings.threads or None,
            tiles=settings.tiles,
            augmentation=settings.augmentation,
        )
        return _of_pictures(place, exported), exported.runtime
    import torch

    from internimage.inference.predictor import Predictor

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = settings.device
    if device in ("auto", "cuda") and (count := torch.cuda.device_count()) > 1:
        device = f"cuda:{number % count}"
    predictor = Predictor(
        place,
        device=device,
        dtype=getattr(torch, settings.dtype),
        batch_size=settings.batch,
        tiles=settings.tiles,
        augmentation=settings.augmentation,
    )
    where = next(predictor.model.parameters()).device
    return _of_pictures(place, predictor), f"PyTorch {torch.__version__} on {where}"


def _of_pictures(place: str, runner: Runner) -> Runner:
    if runner.spec.inputs is not None:
        raise ConfigError(
            f"{place} is a {runner.spec.model_noun}: it takes {runner.spec.data_noun}, which no request has"
        )
    return runner
