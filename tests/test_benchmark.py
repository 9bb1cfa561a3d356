"""The benchmark command: what it compares with, what it counts, what it writes.  No time is checked."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.goldens import near
from PIL import Image

from internimage.benchmark import operators, timing
from internimage.benchmark.operators import AttentionLayer, ConvolutionLayer, Work, count_work, make_problem
from internimage.benchmark.timing import Timing, compare
from internimage.cli.benchmark import ModelBenchmark, OperatorBenchmark
from internimage.drawing.bars import Bar, bar_chart
from internimage.drawing.canvas import ACCENT
from internimage.errors import ConfigError, MissingExtraError, UnknownModelError
from internimage.ops.attention_reference import attention_reference
from internimage.ops.convolution_reference import convolution_reference
from internimage.ops.geometry import SamplingGeometry
from internimage.ops.packing import split_packed

CPU = torch.device("cpu")
CONVOLUTION = ConvolutionLayer("tiny", 5, 7, 2)
LEVELS = ((4, 6), (2, 3))
ENCODER = AttentionLayer("tiny encoder", LEVELS, None)


@pytest.mark.parametrize("operator", ["dcnv3", "dcnv4"])
def test_convolutions_compared_with_are_the_definition(operator: operators.Operator) -> None:
    problem = make_problem(operator, CONVOLUTION, torch.float32, CPU)
    geometry = SamplingGeometry((3, 3), (1, 1), (1, 1), (1, 1), 2, 1.0, False)
    input, *rest = (tensor.double() for tensor in problem.tensors)
    if operator == "dcnv3":
        offset, mask = rest[0], rest[1].unflatten(-1, (2, 9)).softmax(-1).flatten(-2)
    else:
        offset, mask = split_packed(rest[0], geometry)
    exact = convolution_reference(input, offset, mask, geometry)
    near(problem.reference(*problem.tensors), exact, 1e-5)
    near(problem.ours(*problem.tensors), exact, 1e-5)


@pytest.mark.parametrize("layer", [ENCODER, AttentionLayer("tiny decoder", LEVELS, 5)])
def test_attention_compared_with_is_the_definition(layer: AttentionLayer) -> None:
    problem = make_problem("ms_deform_attn", layer, torch.float32, CPU)
    exact = attention_reference(*(tensor.double() for tensor in problem.tensors), [4, 6, 2, 3])
    near(problem.reference(*problem.tensors), exact, 1e-5)
    near(problem.ours(*problem.tensors), exact, 1e-5)


def test_work_is_counted_by_hand() -> None:
    problem = make_problem("dcnv3", CONVOLUTION, torch.bfloat16, CPU)
    assert problem.terms == 35 * 2 * 9 * 16  # pixels, groups, points, channels
    # two bytes a number: 32 channels, 2 * 2 * 9 offsets, 2 * 9 weights of 35 pixels; the output is like the input
    inputs, output = 2 * 35 * (32 + 36 + 18), 2 * 35 * 32
    forward, both = count_work(problem.terms, problem.tensors, problem.ours(*problem.tensors))
    assert forward == Work(8 * 10080, inputs + output)
    assert both == Work(24 * 10080, 3 * inputs + 2 * output)
    assert make_problem("ms_deform_attn", ENCODER, torch.float32, CPU).terms == 30 * 8 * 32 * 2 * 4
    assert make_problem("dcnv4", CONVOLUTION, torch.float32, CPU).tensors[1].shape[-1] == 56  # 54, in eights


def test_fast_calls_are_repeated_and_variants_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_MS", 0.5)
    order: list[str] = []
    results = compare({name: lambda name=name: order.append(name) for name in "ab"}, 4, CPU)
    assert all(len(result.samples) == 4 and result.calls > 10 for result in results.values())
    samples = 4 * (results["a"].calls + results["b"].calls)
    changes = [name for index, name in enumerate(order[-samples:]) if index == 0 or name != order[index - samples - 1]]
    assert changes == list("abababab")
    assert str(Timing.of([3.0, 1.0, 2.0, 12.0, 1.0], 1)) == "2.00 (1.00-3.00)"
    assert str(Timing.of([123.4], 1)) == "123 (123-123)"
    with pytest.raises(ConfigError, match="rounds is 0"):
        compare({}, 0, CPU)


@pytest.mark.parametrize("operator", ["dcnv3", "ms_deform_attn"])
def test_operator_benchmark_writes_every_number(
    operator: operators.Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operators, "CONVOLUTIONS", (CONVOLUTION,))
    monkeypatch.setattr(operators, "ATTENTIONS", (ENCODER,))
    monkeypatch.setattr(timing, "SAMPLE_MS", 0.0)
    monkeypatch.setattr(timing, "LIMIT_SIZES", {"cpu": (64, 1 << 16)})
    threads = torch.get_num_threads()
    assert OperatorBenchmark(operator=operator, threads=2, rounds=1, save=tmp_path / "new").run() == 0
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2:] == [str(tmp_path / "new" / f"op.{end}") for end in ("json", "png")]
    content = json.loads((tmp_path / "new" / "op.json").read_text())
    assert content["machine"]["threads"] == 2
    assert content["command"] == (
        f"internimage benchmark op --operator {operator} --dtype float32 --device cpu --threads 2 --rounds 1"
    )
    (layer,) = content["layers"]
    assert layer["layer"] in printed
    assert 0 < layer["error"] < 1e-5
    for name, operations in (("forward", 8), ("forward_backward", 24)):
        row = layer[name]
        assert row["work"]["flops"] % operations == 0
        assert row["speedup"] == pytest.approx(row["reference_ms"]["median"] / row["ours_ms"]["median"])
        assert row["gflops"] == pytest.approx(row["work"]["flops"] / row["ours_ms"]["median"] / 1e6)
        assert row["gb_per_s_share"] == pytest.approx(row["gb_per_s"] / content["limits"]["gb_per_s"])


class _Peer(torch.nn.Module):
    """Takes images of 64 pixels only."""

    pretrained_cfg: dict[str, object] = {}  # noqa: RUF012

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] != 64:
            raise AssertionError("64 pixels expected\nand more")
        return images.mean((2, 3))


def test_model_benchmark_reports_what_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timm = SimpleNamespace(__version__="1", is_model=lambda name: name == "peer", create_model=lambda name: _Peer())
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setattr("importlib.metadata.version", lambda package: "1")
    monkeypatch.setattr(timing, "SAMPLE_MS", 0.0)
    options = {"model": "internimage_atto", "rounds": 1, "dtype": ("float32",)}
    assert ModelBenchmark(**options, size=(32, 64), peers=("peer",), save=tmp_path).run() == 0
    assert "- peer, 32x32, batch 1, float32: 64 pixels expected\n" in capsys.readouterr().out
    small, large = json.loads((tmp_path / "model.json").read_text())["results"]
    assert [result["model"] for result in small["results"]] == ["internimage_atto", "peer"]
    assert small["results"][1]["timing"] is small["results"][1]["speedup_of_ours"] is None
    ours, peer = large["results"]
    assert peer["speedup_of_ours"] == pytest.approx(peer["timing"]["median"] / ours["timing"]["median"])
    assert ours["images_per_second"] == pytest.approx(1e3 / ours["timing"]["median"])
    with pytest.raises(UnknownModelError, match="no model 'other'"):
        ModelBenchmark(**options, peers=("other",)).run()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="pip install timm"):
        ModelBenchmark(**options).run()
    assert ModelBenchmark(**options, size=(32,), peers=()).run() == 0


def test_wrong_options_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        OperatorBenchmark(threads=0).run()
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device"):
            OperatorBenchmark(device="cuda").run()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--save"):
        OperatorBenchmark(save=tmp_path / "file").run()


def test_bar_chart_draws_each_group_to_its_own_scale() -> None:
    pair = [Bar("ours", 1.0, (0.9, 1.2), "1.0 ms", highlight=True), Bar("other", 4.0, (4.0, 4.0), "4.0 ms")]
    tenfold = [Bar(b.label, 10 * b.value, (10 * b.spread[0], 10 * b.spread[1]), b.text, b.highlight) for b in pair]
    none = Bar("none", 0.0, (0.0, 0.0), "cannot run")
    chart = bar_chart([("small", pair), ("large", [*tenfold, none])], title="Time", footer="here", width=600)
    assert chart.size == (600, 20 + 34 + 2 * 32 + 5 * 24 + 14 + 2 * 20 + 10)

    def blue(y: int) -> int:
        return sum(chart.getpixel((x, y)) == ACCENT for x in range(600))

    assert blue(54 + 32 + 6) == blue(54 + 32 + 48 + 32 + 6) > 50
    assert isinstance(chart, Image.Image)
    assert blue(54 + 32 + 24 + 6) == 0
