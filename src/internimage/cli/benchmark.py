"""internimage benchmark"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg, subcommand

from internimage.cli.common import progress

if TYPE_CHECKING:
    from rich.table import Table

    from internimage.benchmark.models import ModelResult, Setting
    from internimage.benchmark.operators import Comparison, LayerResult
    from internimage.benchmark.timing import Limits
    from internimage.drawing.bars import Bar

_Dtype = Literal["float32", "bfloat16", "float16"]
_Threads = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1 on a CPU)")]
_Save = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]


@dataclass(frozen=True)
class OperatorBenchmark:
    """Measure an operator on the layers of real networks, against the common plain PyTorch formulation.

    $ internimage benchmark op --operator ms_deform_attn --threads 2

    Times are medians (quartiles) in milliseconds, both measured in alternation; dcnv3 includes its softmax on both
    sides. Percentages are relative to the speed of a large matrix product and a large copy on this machine.
    """

    operator: Literal["dcnv3", "dcnv4", "ms_deform_attn"] = "dcnv3"
    dtype: _Dtype = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    threads: _Threads = None
    """CPU threads."""
    rounds: int = 5
    """Samples per measurement, each of 5 ms or one call."""
    save: _Save = None
    """Folder for op.json and op.png: every number and a chart."""

    def run(self) -> int:
        import torch

        from internimage.benchmark.operators import benchmark_operator, layers_of
        from internimage.benchmark.timing import measure_limits, measuring
        from internimage.machine import describe_machine

        folder = _folder(self.save)
        dtype = getattr(torch, self.dtype)
        with measuring(self.device, self.threads) as device:
            machine = describe_machine(device)
            print(machine)
            limits = measure_limits(dtype, device)
            print(
                f"limits measured here: {limits.gflops:.0f} GFLOP/s (matrix product), {limits.gb_per_s:.0f} GB/s (copy)"
            )
            layers = layers_of(self.operator)
            stream = benchmark_operator(self.operator, dtype, device, self.rounds)
            results = list(progress(stream, len(layers), self.operator))
        _print(_operator_table(f"{self.operator}, {self.dtype}, forward", results, limits, backward=False))
        _print(_operator_table(f"{self.operator}, {self.dtype}, forward + backward", results, limits, backward=True))
        print("\nms: median (quartiles). plain: the grid_sample formulation. error: largest difference from float64.")
        if folder:
            content = {
                "command": _command("op", self),
                "settings": {name: getattr(self, name) for name in ("operator", "dtype", "device", "rounds")},
                "machine": vars(machine),
                "limits": vars(limits),
                "layers": [result.to_dict(limits) for result in results],
            }
            title = f"{self.operator}, {self.dtype}: milliseconds a call"
            _write(folder, "op", content, _operator_bars(results), title, str(machine))
        return 0


@dataclass(frozen=True)
class ModelBenchmark:
    """Measure a classifier and others, ours or timm's (pip install timm), in alternation.

    $ internimage benchmark model --size 224 --dtype bfloat16 --threads 2
    $ internimage benchmark model --model flash_intern_image_t_1k_224 --peers internimage_t_1k_224 convnext_tiny

    Weights are random: speed does not depend on them.
    """

    model: Annotated[str, arg(metavar="NAME")] = "internimage_t_1k_224"
    """Model of this package, see `internimage models`."""
    size: Annotated[tuple[int, ...], arg(metavar="PIXELS...")] = (224, 512)
    """Sides of the images."""
    batch: int = 1
    """Images per forward pass."""
    dtype: tuple[_Dtype, ...] = ("float32", "bfloat16")
    """Precisions of weights and images."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: _Threads = None
    """CPU threads."""
    rounds: int = 5
    """Samples per measurement, each of 5 ms or one call."""
    training: FlagCreatePairsOff[bool] = False
    """Measure forward and backward in training mode."""
    compile: FlagCreatePairsOff[bool] = False
    """Also measure each model after torch.compile; takes minutes and needs a C++ compiler."""
    peers: Annotated[tuple[str, ...], arg(metavar="NAMES...")] = (
        "convnext_tiny",
        "swin_tiny_patch4_window7_224",
        "resnet50",
    )
    """Models to compare with, ours or timm's; an empty --peers for none."""
    save: _Save = None
    """Folder for model.json and model.png: every number and a chart."""

    def run(self) -> int:
        from importlib.metadata import version

        from internimage.benchmark.models import benchmark_models
        from internimage.benchmark.timing import measuring
        from internimage.machine import describe_machine
        from internimage.recipes import list_models

        folder = _folder(self.save)
        with measuring(self.device, self.threads) as device:
            machine = describe_machine(device)
            stream = benchmark_models(
                self.model,
                self.peers,
                self.size,
                self.dtype,
                self.batch,
                device,
                self.rounds,
                compiled=self.compile,
                training=self.training,
            )
            settings = list(progress(stream, len(self.size) * len(self.dtype), "models"))
        timm = version("timm") if set(self.peers) - set(list_models()) else None
        place = f"{machine}{f', timm {timm}' if timm else ''}"
        print(place)
        _print(_model_table(settings))
        for setting in settings:
            for result in setting.results:
                if result.note:
                    print(f"- {result.label}, {setting.label}: {result.note}")
        print("\nms a batch: median (quartiles). ours is: speed of ours relative to this model, alike compiled or not.")
        if folder:
            passes = "forward and backward" if self.training else "forward"
            names = ("model", "size", "batch", "dtype", "device", "rounds", "training", "compile", "peers")
            content = {
                "command": _command("model", self),
                "settings": {name: getattr(self, name) for name in names},
                "machine": {**vars(machine), "timm": timm},
                "results": [setting.to_dict() for setting in settings],
            }
            _write(folder, "model", content, _model_bars(settings), f"Milliseconds a batch, {passes}", place)
        return 0


@dataclass(frozen=True)
class Benchmark:
    """Measure the speed of operators or whole models on this machine, compared with common alternatives."""

    what: Annotated[OperatorBenchmark, subcommand("op")] | Annotated[ModelBenchmark, subcommand("model")]

    def run(self) -> int:
        return self.what.run()


def _table(title: str, headings: Sequence[str], left: int) -> Table:
    """An empty table whose first ``left`` columns are text."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left", title_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=True)
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    print()
    console = Console(highlight=False)
    Console(width=None if console.is_terminal else 140, highlight=False).print(table)


def _operator_table(title: str, results: Sequence[LayerResult], limits: Limits, *, backward: bool) -> Table:
    headings = ["layer", "ours ms", "plain ms", "ours is", "GFLOP/s", "GB/s"]
    table = _table(title, headings if backward else [*headings, "error: ours", "plain"], 1)
    for result in results:
        pass_ = result.forward_backward if backward else result.forward
        cells = [result.layer, str(pass_.ours), str(pass_.reference), _times(pass_.speedup)]
        cells.append(f"{pass_.gflops:.1f} ({pass_.gflops / limits.gflops:.0%})")
        cells.append(f"{pass_.gb_per_s:.1f} ({pass_.gb_per_s / limits.gb_per_s:.0%})")
        errors = [] if backward else [f"{result.error:.0e}", f"{result.reference_error:.0e}"]
        table.add_row(*cells, *errors)
    return table


def _operator_bars(results: Sequence[LayerResult]) -> list[tuple[str, list[Bar]]]:
    def pair(comparison: Comparison) -> list[Bar]:
        return [
            _bar("ours", comparison.ours, f", {_times(comparison.speedup)}", highlight=True),
            _bar("plain PyTorch (grid_sample)", comparison.reference),
        ]

    groups = []
    for result in results:
        groups.append((f"{result.layer}: forward", pair(result.forward)))
        groups.append((f"{result.layer}: forward + backward", pair(result.forward_backward)))
    return groups


def _model_table(settings: Sequence[Setting]) -> Table:
    table = _table("", ("images", "model", "ms a batch", "images/s", "ours is"), 2)
    for setting in settings:
        for index, result in enumerate(setting.results):
            speed, speedup = setting.images_per_second(result), setting.speedup(result)
            table.add_row(
                setting.label if index == 0 else "",
                result.label,
                str(result.timing) if result.timing else "-",
                f"{speed:.3g}" if speed else "-",
                _times(speedup) if speedup else "-",
            )
    return table


def _model_bars(settings: Sequence[Setting]) -> list[tuple[str, list[Bar]]]:
    def bar(setting: Setting, result: ModelResult) -> Bar:
        speedup = setting.speedup(result)
        text = f", ours {_times(speedup)}" if speedup else ""
        return _bar(result.label, result.timing, text, highlight=result.model == setting.results[0].model)

    return [(setting.label, [bar(setting, result) for result in setting.results]) for setting in settings]


def _bar(label: str, timing: Any, text: str = "", *, highlight: bool = False) -> Bar:
    from internimage.drawing.bars import Bar

    if timing is None:
        return Bar(label, 0.0, (0.0, 0.0), "cannot run", highlight)
    spread = timing.first_quartile, timing.third_quartile
    return Bar(label, timing.median, spread, f"{str(timing).split()[0]} ms{text}", highlight)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x as fast" if ratio >= 10 else f"{ratio:.2f}x as fast"


def _command(name: str, options: OperatorBenchmark | ModelBenchmark) -> str:
    """The command line that repeats this run, defaults written out; without --save."""
    words = ["internimage", "benchmark", name]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value is None or value is False or field.name == "save":
            continue
        words.append(f"--{field.name}")
        if value is not True:
            words += [str(item) for item in (value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _folder(folder: Path | None) -> Path | None:
    """Make the folder before minutes of measuring, not after them."""
    from internimage.errors import ConfigError

    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; choose another folder (--save)") from error
    return folder


def _write(
    folder: Path,
    name: str,
    content: dict[str, Any],
    bars: list[tuple[str, list[Bar]]],
    title: str,
    footer: str,
) -> None:
    from internimage.drawing.bars import bar_chart
    from internimage.writing import json_text, save_picture, write_text

    numbers, picture = folder / f"{name}.json", folder / f"{name}.png"
    write_text(numbers, json_text(content, indent=2) + "\n")
    save_picture(bar_chart(bars, title=title, footer=footer), picture)
    for path in (numbers, picture):
        print(path)
