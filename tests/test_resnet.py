"""ResNet against torchvision and plain definitions; the contract of a backbone, and a model that stands on one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import internimage as ii
from internimage import registry
from internimage.backbones.composite import CompositeConfig, build_backbone
from internimage.backbones.config import RESNET_101, InternImageConfig, ResNetConfig
from internimage.backbones.internimage import InternImage
from internimage.backbones.resnet import DeformableConvolution, ResNet
from internimage.checkpoints.layouts import from_ours, layout_of, to_ours
from internimage.errors import ConfigError, InputSizeError
from internimage.inference.features import layer_names, layer_outputs
from internimage.layers.fpn import FPN
from internimage.models.model import Model
from internimage.recipes.backbones import ZEPTO
from internimage.registry import ArchitectureEntry
from internimage.settings.plain import from_plain
from internimage.training.distributed import synchronise_batch_norm
from internimage.training.optimiser.groups import parameter_rules

SMALL = ResNetConfig(depths=(1, 2, 2, 1), channels=4, deformable=(False, False, True, True))
RELEASED = {
    "tiny": ResNetConfig(frozen_stages=1, frozen_norm=True),
    "small": ResNetConfig(
        RESNET_101, style="caffe", deformable=(False, False, True, True), bgr=True, frozen_stages=1, frozen_norm=True
    ),
}
RELEASED["base"] = RELEASED["small"]


@dataclass(frozen=True)
class StandConfig:
    backbone: InternImageConfig | ResNetConfig
    num_classes: int = 2


class Stand(Model):
    """The least that stands on a backbone."""

    def __init__(self, config: StandConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = self.build_backbone(config, (1, 3))
        self.classifier = nn.Linear(self.backbone.feature_channels[-1], config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.vectors(images)["pooled"])


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    entry = ArchitectureEntry(None, f"{__name__}:StandConfig", f"{__name__}:Stand")
    monkeypatch.setitem(registry.ARCHITECTURES, "stand", entry)
    return drawn(Stand(StandConfig(replace(SMALL, frozen_stages=1, frozen_norm=True))))


def drawn(module: Any, seed: int = 0) -> Any:
    """The module in float64 with weights, offsets and statistics that all matter."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if tensor.dim() == 1 and "bias" not in name else (-1.0, 1.0)
            width = 1.0 if tensor.dim() == 1 else 1.7 * (2 / tensor[0].numel()) ** 0.5
            tensor.uniform_(low, high, generator=draw).mul_(width)
    return module.eval()


def pictures(channels: int = 3, side: int = 40, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, side, side + 7, generator=draw, dtype=torch.float64)


def released(network: nn.Module, config: ResNetConfig) -> dict[str, Tensor]:
    state = network.state_dict()
    return {theirs: state[ours] for ours, theirs in from_ours(state, "official", config).items()}


def deformed(x: Tensor, weight: Tensor, predicted: Tensor, stride: int) -> Tensor:
    """The sum over nine points, each of four pixels, as the paper writes it."""
    rows, columns = (torch.arange(side) for side in predicted.shape[2:])
    total = torch.zeros(len(x), len(weight), len(rows), len(columns), dtype=x.dtype)
    for point in range(9):
        y = stride * rows[:, None] - 1 + point // 3 + predicted[:, 2 * point]
        z = stride * columns - 1 + point % 3 + predicted[:, 2 * point + 1]
        value = torch.zeros(*x.shape[:2], len(rows), len(columns), dtype=x.dtype)
        for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
            i, j = y.floor().long() + top, z.floor().long() + left
            share = (1 - (y - i).abs()) * (1 - (z - j).abs())
            inside = (i >= 0) & (i < x.shape[2]) & (j >= 0) & (j < x.shape[3])
            i, j = i.clamp(0, x.shape[2] - 1), j.clamp(0, x.shape[3] - 1)
            pixels = torch.stack([one[:, a, b] for one, a, b in zip(x, i, j, strict=True)])
            value += pixels * (share * inside)[:, None]
        value *= predicted[:, 18 + point, None].sigmoid()
        total += torch.einsum("nchw,oc->nohw", value, weight[:, :, point // 3, point % 3])
    return total


def defined(state: Mapping[str, Tensor], images: Tensor, config: ResNetConfig) -> list[Tensor]:
    """The maps, from tensors of released names, by functions alone."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = norm(F.conv2d(images.flip(1) if config.bgr else images, state["conv1.weight"], None, 2, 3), "bn1").relu()
    x, maps = F.max_pool2d(x, 3, 2, 1), []
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            first, second = (stride, 1) if config.style == "caffe" else (1, stride)
            y = norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=first), f"{name}.bn1").relu()
            weight = state[f"{name}.conv2.weight"]
            if config.deformable[stage]:
                offset = [state[f"{name}.conv2.conv_offset.{part}"] for part in ("weight", "bias")]
                y = deformed(y, weight, F.conv2d(y, *offset, second, 1), second)
            else:
                y = F.conv2d(y, weight, None, second, 1)
            y = norm(F.conv2d(norm(y, f"{name}.bn2").relu(), state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if not block:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = (x + y).relu()
        maps.append(x)
    return maps


@pytest.mark.parametrize("training", [False, True])
def test_equals_torchvision(training: bool) -> None:
    config = ResNetConfig(depths=(1, 2, 1, 1))
    theirs = drawn(torchvision.models.resnet.ResNet(torchvision.models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=1))
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    assert layout_of(state) == "official"
    ours = ResNet(config).double()
    ours.load_state_dict({name: state[key] for key, name in to_ours(state, "official", config).items()})
    images = pictures()
    x = theirs.train(training).maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = [x := getattr(theirs, f"layer{stage}")(x) for stage in (1, 2, 3, 4)]
    maps = ours.train(training)(images)
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10 * float(wanted.detach().abs().max()))
    assert training == (not torch.equal(ours.stem.norm1.running_mean, state["bn1.running_mean"]))
    (gradient,) = torch.autograd.grad(maps[-1].sum(), ours.stem.conv1.weight)
    (wanted,) = torch.autograd.grad(expected[-1].sum(), theirs.conv1.weight)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-9 * float(wanted.abs().max()))


@pytest.mark.parametrize("style", ["pytorch", "caffe"])
@pytest.mark.parametrize("bgr", [False, True])
@torch.no_grad()
def test_equals_its_definition(style: Any, bgr: bool) -> None:
    config = replace(SMALL, style=style, bgr=bgr)
    network = drawn(ResNet(config))
    for side in (1, 33):
        expected = defined(released(network, config), pictures(side=side), config)
        for found, wanted in zip(network(pictures(side=side)), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10 * float(wanted.abs().max()))


def test_deformable_convolution() -> None:
    """Its channels are y, x of each point in turn; its gradients are those of the definition; lower precisions work."""
    layer = DeformableConvolution(2, 2, 1).double().requires_grad_(False)
    layer.offset_mask.weight.zero_()
    layer.weight.copy_(torch.eye(2)[:, :, None, None] * torch.eye(9)[4].view(3, 3))  # the central point alone
    images = pictures(2, 6)
    for channel, (down, right) in {8: (1, 0), 9: (0, 1)}.items():
        layer.offset_mask.bias = nn.Parameter(torch.eye(27, dtype=torch.float64)[channel], requires_grad=False)
        moved = F.pad(images, (0, right, 0, down))[:, :, down:, right:]
        torch.testing.assert_close(layer(images), 0.5 * moved, rtol=0, atol=1e-15)
    layer = drawn(DeformableConvolution(2, 3, 2))
    images.requires_grad_()
    wanted = deformed(images, layer.weight, layer.offset_mask(images), 2)
    inputs = [images, *layer.parameters()]
    for found, expected in zip(
        torch.autograd.grad(layer(images).square().sum(), inputs),
        torch.autograd.grad(wanted.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    layer, images = layer.float(), images.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(images)
    for low in (mixed, layer.bfloat16()(images.bfloat16())):
        assert low.dtype == torch.bfloat16
        torch.testing.assert_close(low.double(), wanted.detach(), rtol=0, atol=0.1)


@pytest.mark.parametrize("channels", [1, 3, 5])
@torch.no_grad()
def test_other_channels(channels: int) -> None:
    plain, turned = (drawn(ResNet(replace(SMALL, bgr=bgr, frozen_stages=1))) for bgr in (False, True))
    turned.stem.conv1.weight.copy_(plain.stem.conv1.weight.flip(1))
    maps = plain(pictures(1).expand(-1, 3, -1, -1))
    for network in (plain, turned):
        network.take_channels(channels)
        assert (network.config.in_channels, network.stem.conv1.weight.requires_grad) == (channels, False)
    images = pictures(channels)
    for found, wanted in zip(turned(images), plain(images), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    if channels == 1:
        torch.testing.assert_close(turned(pictures(1))[-1], maps[-1], rtol=1e-10, atol=1e-10)
    with pytest.raises(InputSizeError, match=rf"expected \(N, {channels}, H, W\)"):
        plain(pictures(channels + 1))


@pytest.mark.parametrize(("config_stages", "frozen_norm"), [(0, False), (0, True), (1, True), (2, False)])
def test_what_is_frozen(config_stages: int, frozen_norm: bool) -> None:
    network = drawn(ResNet(replace(SMALL, frozen_stages=config_stages, frozen_norm=frozen_norm))).train()
    for stages in (0, 3, 0):
        network.freeze(stages)
        count = max(stages, config_stages)
        fixed = ("stem.", *(f"stages.{index}." for index in range(count))) if count else ()
        before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        network.zero_grad()
        network.train()(pictures())[-1].square().mean().backward()
        for name, parameter in network.named_parameters():
            is_fixed = name.startswith(fixed) or (frozen_norm and "norm" in name)
            assert (parameter.grad is None, parameter.requires_grad) == (is_fixed, not is_fixed), name
        for name, buffer in network.named_buffers():
            assert torch.equal(buffer, before[name]) == (frozen_norm or name.startswith(fixed)), name
    synchronise_batch_norm(network.train())
    assert frozen_norm == (not network.train().stages[3].blocks[0].norm1.training)
    assert network.eval()(pictures())[-1].isfinite().all()


def test_training_aids() -> None:
    """Gradient checkpointing changes nothing; dropped paths leave the shortcut."""
    results = []
    for recompute in (False, True):
        network = drawn(ResNet(SMALL)).train()
        network.set_gradient_checkpointing(recompute)
        network(pictures())[-1].square().mean().backward()
        results.append([*(p.grad for p in network.parameters()), *network.buffers()])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    network.set_drop_path_rate(0.3)
    rates = [stage.drop_path.rate for stage in network.shardable()]
    assert rates == pytest.approx([0.06 * number for number in range(6)])
    fresh = ResNet(SMALL)
    assert (
        torch.equal(fresh(pictures().float())[0], fresh.eval()(pictures().float())[0].detach()) is False
    )  # statistics
    block = ResNet(SMALL).eval().stages[1].blocks[1]
    x = torch.rand(1, 3, 3, 32)
    assert torch.equal(block(x), x)  # a block starts as its shortcut


def test_stands_under_a_model(stand: Stand, tmp_path: Path) -> None:
    """Folder, features, layer decay."""
    path = ii.save_model(stand, tmp_path / "model")
    images = pictures().float()
    again = ii.load_model(path)
    assert again.config == stand.config
    assert torch.equal(again(images), stand.float()(images))
    assert not any(p.requires_grad for p in again.backbone.stem.parameters())
    names = ["pooled", "stage2", "stage4", "stage2.block2", "stage3.block1"]
    assert set(names) <= set(layer_names(stand))
    features = layer_outputs(stand, images, names)
    for name, one in zip(("stage2", "stage4"), stand.backbone(images), strict=True):
        assert torch.equal(features[name], one)
    assert torch.equal(features["stage2.block2"], features["stage2"])
    assert features["stage3.block1"].shape == (2, 64, 3, 3)
    stand.freeze(0)
    model = Stand(StandConfig(SMALL))
    rules = parameter_rules(model, weight_decay=0.1, layer_decay=0.5, deformable_lr_scale=0.1)
    assert rules == parameter_rules(
        model, weight_decay=0.1, layer_decay=0.5, deformable_lr_scale=0.1, as_published=True
    )
    scales = {name: rule.lr_scale for name, rule in rules.items()}
    expected = {
        "stem.conv1.weight": 0.5**5, "stages.0.blocks.0.shortcut.conv.weight": 0.5**5,
        "stages.1.blocks.1.norm2.bias": 0.5**3,
        "stages.2.blocks.1.conv2.weight": 0.5, "stages.2.blocks.1.conv2.offset_mask.weight": 0.05,
        "stages.3.blocks.0.conv3.weight": 1.0,
    }  # fmt: skip
    assert {name: scales[f"backbone.{name}"] for name in expected} == expected
    assert scales["classifier.weight"] == 1.0
    assert rules["backbone.stem.norm1.weight"].weight_decay == 0.0


def test_alone_in_a_folder(tmp_path: Path) -> None:
    network = drawn(ResNet(replace(SMALL, bgr=True), (2,))).float()
    again = ii.load_model(ii.save_model(network, tmp_path / "model"))
    assert json.loads((tmp_path / "model" / "model.json").read_text())["architecture"] == "resnet"
    assert again.config == network.config
    assert torch.equal(again(pictures().float())[2], network(pictures().float())[0])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (asdict(SMALL), SMALL),
        (asdict(ZEPTO), ZEPTO),
        ({}, ResNetConfig()),
        ({"channels": 8, "depths": [1, 2, 1, 1]}, ResNetConfig((1, 2, 1, 1), 8)),
        ({"channels": 8, "depths": [1], "groups": [2]}, InternImageConfig(8, (1,), (2,))),
        ({"style": "caffe", "colour": 1}, r"unknown field 'colour'; known: depths, channels, style"),
        ({"groups": [2], "colour": 1}, r"unknown field 'colour'; known: channels, depths, groups"),
    ],
)
def test_configuration_from_plain_data(data: dict[str, Any], expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            from_plain(StandConfig, {"backbone": data})
    else:
        assert from_plain(StandConfig, json.loads(json.dumps({"backbone": data}))).backbone == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(SMALL, style="tensorflow"), "unknown style 'tensorflow'; expected one of pytorch, caffe"),
        (lambda: replace(SMALL, deformable=(True,)), "must name as many stages"),
        (lambda: replace(SMALL, depths=(3, 0, 1, 1)), "expected 1 block or more"),
        (lambda: replace(SMALL, in_channels=0), "in_channels is 0"),
        (lambda: replace(SMALL, frozen_stages=5), "frozen_stages is 5; the network has 4 stages"),
        (lambda: ResNet(SMALL).freeze(5), "cannot freeze 5 stages"),
        (lambda: ResNet(SMALL, (3, 1)), "not ascending stage numbers from 0 to 3"),
        (lambda: ResNet(SMALL).set_drop_path_rate(1.0), "drop path rate is 1.0"),
        (lambda: SMALL.with_operator("dcnv4"), "a ResNet does not sample with the operator dcnv4"),
        (lambda: build_backbone(SMALL, CompositeConfig()), "ResNets cannot be put together"),
        (lambda: InternImage(SMALL), "expected an InternImageConfig, not a ResNetConfig"),  # type: ignore[arg-type]
        (lambda: ii.create_model(SMALL), "a ResNetConfig is a backbone alone"),
        (lambda: FPN((8,), 8, extra=-1), "a pyramid on 1 maps with -1 further ones"),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_which_weights_are_shared() -> None:
    assert SMALL.shares_weights_with(replace(SMALL, frozen_stages=2, frozen_norm=True, in_channels=1))
    assert not SMALL.shares_weights_with(replace(SMALL, bgr=True))
    assert not SMALL.shares_weights_with(ZEPTO)
    assert not ZEPTO.shares_weights_with(SMALL)
    assert Stand.shares_weights(StandConfig(SMALL), StandConfig(SMALL, 5))


@pytest.mark.parametrize(("size", "keys", "parameters"), [("tiny", 318, 23_508_032), ("base", 676, 44_304_894)])
def test_released_names(size: str, keys: int, parameters: int) -> None:
    config = RELEASED[size]
    with torch.device("meta"):
        network = ResNet(config, (3,))
        assert network(torch.empty(1, 3, 64, 96))[0].shape == (1, 2048, 2, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    names = from_ours(network.state_dict(), "official", config)
    assert len(set(names.values())) == keys
    assert to_ours(names.values(), "official", config) == {theirs: ours for ours, theirs in names.items()}
    if size == "tiny":
        with torch.device("meta"):
            theirs = torchvision.models.resnet50().state_dict()
        assert list(names.values()) == [name for name in theirs if not name.startswith("fc.")]


@pytest.mark.full
@pytest.mark.parametrize("size", list(RELEASED))
def test_names_are_those_of_the_manifests(size: str, shared: Path) -> None:
    manifest = json.loads((shared / f"goldens/driving/manifests/bevformer_{size}.json").read_text())["keys"]
    config = RELEASED[size]
    with torch.device("meta"):
        state = released(ResNet(config), config)
        neck = FPN(
            config.stage_channels[1:] if size == "base" else config.stage_channels[3:], extra=int(size == "base")
        )
    wanted = {key: shape for key, shape in manifest.items() if key.startswith("img_backbone.")}
    found = {f"img_backbone.{key}": list(t.shape) or ["int64"] for key, t in state.items()}
    assert list(found.items()) == list(wanted.items())
    shapes = [shape for key, shape in manifest.items() if key.startswith("img_neck.")]
    assert [list(tensor.shape) for tensor in neck.state_dict().values()] == shapes


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("levels", "extra"), [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2), (4, None)])
@torch.no_grad()
def test_pyramid(levels: int, extra: int | None, norm: bool) -> None:
    widths = tuple(range(2, 2 + levels))
    neck = FPN(widths, 4, norm=norm, extra=extra).double()
    maps = [pictures(width, 24 // 2**level, level) for level, width in enumerate(widths)]
    inner = [module(one) for module, one in zip(neck.lateral, maps, strict=True)]
    for level in range(levels - 2, -1, -1):
        shape = inner[level].shape[2:]
        rows, columns = (torch.arange(a) * b // a for a, b in zip(shape, inner[level + 1].shape[2:], strict=True))
        inner[level] = inner[level] + inner[level + 1][:, :, rows][:, :, :, columns]
    expected = [neck.output[level](one) for level, one in enumerate(inner)]
    if extra is None:
        expected.append(expected[-1][:, :, ::2, ::2])
    for number in range(extra or 0):
        expected.append(neck.output[levels + number](expected[-1].relu() if number else expected[-1]))
        assert expected[-1].shape[2] == (expected[-2].shape[2] + 1) // 2
    assert len(neck.output) == levels + (extra or 0)
    for found, wanted in zip(neck(maps), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert norm == (next(module for module in neck.modules() if isinstance(module, nn.Conv2d)).bias is None)
