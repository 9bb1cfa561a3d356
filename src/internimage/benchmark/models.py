"""Whole classifiers beside each other, ours and timm's: one pass forward, or forward and backward, random weights.

Models stay as their makers build them (NCHW tensors, no autocast): weights and images are simply of the dtype named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from internimage.benchmark.timing import Timing, compare
from internimage.errors import ConfigError, MissingExtraError, UnknownModelError
from internimage.factory import create_model
from internimage.machine import check_compiler
from internimage.recipes import get_recipe, list_models


@dataclass(frozen=True)
class ModelResult:
    """One model in one setting; without a timing where it cannot run, ``note`` then says why."""

    model: str
    compiled: bool
    timing: Timing | None
    note: str = ""

    @property
    def label(self) -> str:
        """``convnext_tiny, compiled``"""
        return f"{self.model}, compiled" if self.compiled else self.model


@dataclass(frozen=True)
class Setting:
    """Models measured in alternation on ``batch`` images of ``size`` x ``size`` pixels; the first is ours."""

    size: int
    batch: int
    dtype: str
    results: tuple[ModelResult, ...]

    @property
    def label(self) -> str:
        """``224x224, batch 1, float32``"""
        return f"{self.size}x{self.size}, batch {self.batch}, {self.dtype}"

    def images_per_second(self, result: ModelResult) -> float | None:
        """Images a second, or None for a model that cannot run."""
        return 1e3 * self.batch / result.timing.median if result.timing else None

    def speedup(self, peer: ModelResult) -> float | None:
        """How many times faster than a peer ours is, both compiled or both not; None for ours itself."""
        ours = next(result for result in self.results if result.compiled == peer.compiled)
        if peer is ours or ours.timing is None or peer.timing is None:
            return None
        return peer.timing.median / ours.timing.median

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON, with what follows from the times."""
        rows = [
            {
                **dataclasses.asdict(result),
                "images_per_second": self.images_per_second(result),
                "speedup_of_ours": self.speedup(result),
            }
            for result in self.results
        ]
        return {"size": self.size, "batch": self.batch, "dtype": self.dtype, "results": rows}


def load_timm(peers: Sequence[str]) -> Any:
    """The package of the peers.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownModelError: timm has no model of that name.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(
            "models are compared with those of timm: pip install timm, or leave the others out with an empty --peers"
        ) from error
    for name in peers:
        if not timm.is_model(name):
            raise UnknownModelError(f"timm {timm.__version__} has no model {name!r}; timm.list_models() has all names")
    return timm


def benchmark_models(
    model: str,
    peers: Sequence[str],
    sizes: Sequence[int],
    dtypes: Sequence[str],
    batch: int,
    device: torch.device,
    rounds: int,
    *,
    compiled: bool,
    training: bool,
) -> Iterator[Setting]:
    """Measure setting by setting: every dtype at every size; ``compiled`` adds a ``torch.compile`` variant of each.

    ``peers`` are names of ours or of timm's.  ``training`` measures a pass forward and backward in training mode.

    Raises:
        UnknownModelError: ``model`` has no recipe, or timm no such peer.
        ConfigError: a size or the batch is not positive, no size or dtype is given, the model is no classifier, or
            there is no compiler.
    """
    if get_recipe(model).task != "classification":
        raise ConfigError(f"{model} is no classifier; what is compared here are classifiers")
    if not sizes or not dtypes or min(sizes) < 1 or batch < 1:
        raise ConfigError("at least one size and one dtype are needed; sizes and batch must be positive")
    if compiled:
        check_compiler(device)
    ours = list_models()
    others = [name for name in peers if name not in ours]
    timm = load_timm(others) if others else None
    for size in sizes:
        for dtype in dtypes:
            builders: dict[str, Callable[[], nn.Module]] = {}
            for name in (model, *peers):
                if name in ours:
                    builders[name] = lambda name=name: create_model(name)  # type: ignore[misc]
                else:
                    builders[name] = lambda name=name, size=size: _peer(timm, name, size)  # type: ignore[misc]
            images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
            images = images.to(device, getattr(torch, dtype))
            yield Setting(size, batch, dtype, _measure(builders, images, rounds, compiled, training))


def _peer(timm: Any, name: str, size: int) -> nn.Module:
    """A model of timm; one whose windows or positions belong to one size is built for this one."""
    model = timm.create_model(name)
    if model.pretrained_cfg.get("fixed_input_size"):
        model = timm.create_model(name, img_size=size)
    return model.eval()


def _pass(run: Any, images: Tensor, training: bool) -> None:
    output = run(images)
    if training:
        run.zero_grad(set_to_none=True)
        output.sum().backward()


def _measure(
    builders: dict[str, Callable[[], nn.Module]], images: Tensor, rounds: int, compiled: bool, training: bool
) -> tuple[ModelResult, ...]:
    torch.compiler.reset()  # else each setting counts as a recompilation, and after a few nothing is compiled any more
    results = []
    runs: dict[str, Callable[[], object]] = {}
    for name, build in builders.items():
        module: nn.Module | None = None
        for compiling in (False, True) if compiled else (False,):
            result = ModelResult(name, compiling, None)
            try:
                module = build().to(images.device, images.dtype) if module is None else module
                module.train(training)
                run: Any = torch.compile(module, dynamic=False) if compiling else module
                with torch.inference_mode(not training):
                    _pass(run, images, training)
            except Exception as error:  # whatever a peer or a compiler raises: its cell stays empty, the others run
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                result = dataclasses.replace(result, note=reason)
            else:
                runs[result.label] = lambda run=run: _pass(run, images, training)  # type: ignore[misc]
            results.append(result)
    with torch.inference_mode(not training):
        timings = compare(runs, rounds, images.device)
    return tuple(dataclasses.replace(result, timing=timings.get(result.label)) for result in results)
