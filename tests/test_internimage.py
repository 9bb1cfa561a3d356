"""Backbone and classifiers against the released code: numbers, names, counts; then the contract of a model."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import fill
from helpers.goldens import GOLDENS, config_from_official, filled, golden, manifests, metadata, near, official_names
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import StochasticDepth

from internimage import create_model, get_recipe, list_models
from internimage.backbones.config import InternImageConfig
from internimage.backbones.deformable import DCNv3, DCNv4
from internimage.backbones.internimage import InternImage
from internimage.backbones.parts import MLP, DropPath
from internimage.checkpoints.hub import HubFile
from internimage.checkpoints.layouts import from_ours, to_ours
from internimage.errors import ConfigError, InputSizeError
from internimage.images import Preprocessing
from internimage.layers.rcnn.roi_heads import BoxHead, MaskHead
from internimage.models.classifier import ClassifierConfig, ImageClassifier
from internimage.registry import ARCHITECTURES, resolve

MINIS = (
    "mini_pre", "mini_pre_layerscale", "mini_post_layerscale_offset2", "mini_remove_center", "mini_res_post_norm",
    "mini_h", "mini_g", "mini_bn_silu", "mini_relu_mlp2", "mini_meta_h",
)  # fmt: skip
TINY = InternImageConfig(channels=32, depths=(1, 1, 2, 1), groups=(2, 4, 8, 16))
TINY_POOL = dataclasses.replace(TINY, center_feature_scale=True, res_post_norm=True, post_norm_blocks=(1,))


def mini_config(name: str) -> ClassifierConfig:
    options = golden("mini").info["models"][name]["kwargs"]
    return config_from_official(options, options.get("meta_dim"))


def test_weights_are_those_of_the_goldens() -> None:
    for key, expected in golden("fill_check").info["tensor_for"].items():
        name, shape = key.split(" ", 1)
        data = fill.tensor_for(name, json.loads(shape)).numpy().astype("<f4").tobytes()
        assert hashlib.sha256(data).hexdigest() == expected["sha256_le_f4"], name


@pytest.mark.full
def test_goldens_are_copies(shared: Path) -> None:
    for original in [*(shared / "goldens").glob("dcnv3_op.*"), *(shared / "goldens/classification").iterdir()]:
        assert (GOLDENS / original.name).read_bytes() == original.read_bytes()
    for name, manifest in manifests().items():
        original = json.loads((shared / f"spec/checkpoints/classification/{name}.json").read_text())
        assert manifest == {key: original[key] for key in manifest}


@pytest.mark.full
def test_recipes_are_those_published(shared: Path) -> None:
    models = json.loads((shared / "spec/released_models.json").read_text())["models"]
    rows = {row["files"][0].removesuffix(".pth"): row for row in models if "InternImage/class" in row["source"]}
    names = [name for name in list_models() if "flash_" not in name]  # those are compared in test_flash.py
    every = [recipe for recipe in map(get_recipe, names) if isinstance(recipe.weights, HubFile)]
    # detectors of Objects365 that other configurations begin with; nothing else is known of their files
    unknown = {f"dino_4scale_cbinternimage_h_objects365_{count}classes" for count in (20, 80)}
    assert {recipe.name for recipe in every} >= unknown
    every = [recipe for recipe in every if recipe.name not in unknown]
    for recipe in every:
        if recipe.task == "detection":
            row = next(row["row"] for row in models if row["files"][:1] == [f"{recipe.name}.pth"])
            assert recipe.published is not None
            name = next(name for name in ("box mAP", "minival (ss)", "mAP (ss)") if name in row)
            published = (str(recipe.published.value), str(recipe.published.masks), recipe.published.flops)
            assert published == (row[name], row.get("mask mAP", "None"), row.get("FLOPs"))
    recipes = [recipe for recipe in every if recipe.task == "classification"]
    assert {recipe.name for recipe in recipes} == set(rows)
    for recipe in recipes:
        row, size = rows[recipe.name]["row"], recipe.preprocessing.crop
        assert row["resolution"] == f"{size}x{size}" == f"{recipe.preprocessing.resize}x{recipe.preprocessing.resize}"
        assert rows[recipe.name]["hub"][0] == f"{recipe.weights.repository}/resolve/main/{recipe.weights.file}"
        assert recipe.hub_name in (*rows[recipe.name]["hub"], None)
        assert recipe.published is None or recipe.published.value == float(row["#param"])  # a column off, there


@pytest.mark.parametrize("name", MINIS)
def test_every_architectural_switch(name: str) -> None:
    """Names, order, shapes; logits, maps; and of each gradient the norm and the component along a random direction."""
    truth, info = golden("mini"), golden("mini").info["models"][name]
    model = filled(mini_config(name), torch.float64)
    names = official_names(model)
    assert [[names[ours], list(t.shape)] for ours, t in model.state_dict().items()] == info["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == info["parameters"]
    images = fill.make_input((2, 3, 64, 96), 0).double()
    features = model.forward_intermediates(images, *metadata(2, model.config, torch.float64))
    near(features.logits, truth[f"{name}/logits"], 1e-10)
    for level, found in enumerate(features.maps):
        near(found.permute(0, 2, 3, 1), truth[f"{name}/level{level}"], 1e-10, rtol=2**-24)  # stored in float32
    (features.logits * fill.make_input((2, 10), 0, "cotangent").double()).sum().backward()
    gradients = {names[ours]: p.grad for ours, p in model.named_parameters()}
    assert list(gradients) == truth.arrays[f"{name}/param_names"].tolist()
    for (key, gradient), norm, dot in zip(
        gradients.items(), truth.arrays[f"{name}/grad_norm"], truth.arrays[f"{name}/grad_dot"], strict=True
    ):
        direction = torch.from_numpy(fill.uniform(f"dir:{key}", gradient.shape, 0))
        found = torch.stack((gradient.norm(), (gradient * direction).sum()))
        near(found, torch.tensor((norm, dot)), 1e-12 + 1e-10 * norm)


@torch.no_grad()
def test_masks_without_softmax() -> None:
    """A mask that is the softmax of another one gives the same network as the other one under the softmax."""
    config = ClassifierConfig(TINY, 10)
    bounded = filled(config, torch.float64)
    unbounded = ImageClassifier(dataclasses.replace(config, backbone=dataclasses.replace(TINY, mask_softmax=False)))
    unbounded.to(torch.float64).eval().load_state_dict(bounded.state_dict())
    for plain, other in zip(bounded.modules(), unbounded.modules(), strict=True):
        if isinstance(plain, DCNv3):
            nn.init.zeros_(plain.mask.weight)
            nn.init.zeros_(other.mask.weight)
            other.mask.bias.copy_(plain.mask.bias.view(plain.groups, 9).softmax(-1).flatten())
    images = fill.make_input((2, 3, 64, 96), 0).double()
    near(unbounded(images), bounded(images), 1e-10)


@torch.no_grad()
def test_networks_start_as_described() -> None:
    torch.manual_seed(0)
    for name, spread in (("internimage_t_1k_224", 0.02), ("internimage_pico", None), ("flash_internimage_atto", None)):
        model = create_model(name)
        for module in model.modules():
            if isinstance(module, DCNv3):
                offsets_and_weights = (module.offset.weight, module.offset.bias, module.mask.weight)
                assert not any(parameter.any() for parameter in offsets_and_weights)
                if spread:
                    assert not module.mask.bias.any()
                else:  # a random filter of unit energy for each group
                    assert float(module.mask.bias.square().sum()) / module.groups == pytest.approx(1, rel=0.6)
            elif isinstance(module, DCNv4):
                offsets, filters = module.offset_mask.bias[: 27 * module.groups].view(-1, 3, 9).split((2, 1), dim=1)
                assert not any(values.any() for values in (module.offset_mask.weight, offsets))
                assert float(filters.square().sum()) / module.groups == pytest.approx(1, rel=0.6)
            elif isinstance(module, MLP):
                for layer in (module.fc1, module.fc2):
                    assert float(layer.weight.std()) == pytest.approx(spread or layer.in_features**-0.5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("internimage_t_1k_224", torch.float64, 1e-10),
        ("internimage_t_1k_224", torch.float32, 5e-6),
        pytest.param("internimage_s_1k_224", torch.float64, 1e-10, marks=pytest.mark.full),
        ("internimage_s_1k_224", torch.float32, 8e-6),
        pytest.param("internimage_b_1k_224", torch.float64, 1e-10, marks=pytest.mark.full),
        ("internimage_b_1k_224", torch.float32, 1e-5),
        pytest.param("internimage_l_22kto1k_384", torch.float64, 1e-10, marks=pytest.mark.full),
        ("internimage_l_22kto1k_384", torch.float32, 1.5e-5),
        pytest.param("internimage_xl_22kto1k_384", torch.float64, 1e-10, marks=pytest.mark.full),
        ("internimage_xl_22kto1k_384", torch.float32, 2e-5),
        pytest.param("internimage_h_22kto1k_640", torch.float32, 1e-5, marks=pytest.mark.full),
        pytest.param("internimage_h_22ktoinat18_384", torch.float32, 1e-5, marks=pytest.mark.full),
        pytest.param("internimage_g_22kto1k_512", torch.float32, 1e-5, marks=pytest.mark.full),
    ],
)
@torch.no_grad()
def test_released_architectures(name: str, dtype: torch.dtype, tolerance: float) -> None:
    truth = golden(name)
    model = filled(name, dtype)
    features = model.forward_intermediates(
        fill.make_input((1, 3, 96, 128), 0).to(dtype), *metadata(1, model.config, dtype)
    )
    near(features.logits, truth["logits_f64"], tolerance)
    for level, found in enumerate(features.maps):
        values = found.permute(0, 2, 3, 1).flatten().double()
        near(values[truth[f"level{level}_index"]], truth[f"level{level}_value_f64"], 5 * tolerance)
        near(values.mean(), truth[f"level{level}_mean"], tolerance)
        near(values.std(correction=0), truth[f"level{level}_std"], tolerance)
    if "odd_logits" in truth.arrays:
        near(model(fill.make_input((2, 3, 75, 109), 2).to(dtype)), truth["odd_logits_f64"], tolerance)


@pytest.mark.parametrize(("dtype", "forward", "backward"), [(torch.float64, 1e-10, 1e-8), (torch.float32, 1e-5, 1e-3)])
def test_training_step_of_t(dtype: torch.dtype, forward: float, backward: float) -> None:
    """Batch statistics and every gradient: relative L2 of its norm and of sixteen sampled elements."""
    truth = golden("internimage_t_1k_224_grad")
    model = filled("internimage_t_1k_224", dtype).train()
    images = fill.make_input((2, 3, 96, 128), 3).to(dtype).requires_grad_()
    logits = model(images)
    (logits * fill.make_input((2, 1000), 3, "cotangent").to(dtype)).sum().backward()
    near(logits, truth["logits_train_f64"], forward)
    names = official_names(model)
    buffers = {f"after/{names[ours]}": buffer for ours, buffer in model.named_buffers()}
    assert buffers.keys() == {key for key in truth.arrays if key.startswith("after/")}
    for key, buffer in buffers.items():
        near(buffer, truth[key], forward)
    gradients = {names[ours]: p.grad.flatten().double() for ours, p in model.named_parameters()}
    assert list(gradients) == truth.arrays["param_names"].tolist()
    gradients["input"] = images.grad.flatten().double()
    norms = [*truth["grad_norm_f64"], truth["input_grad_norm_f64"]]
    indices, values = ([*truth[f"sample_{kind}"], truth[f"input_grad_{kind}"]] for kind in ("index", "value_f64"))
    for (key, found), norm, index, value in zip(gradients.items(), norms, indices, values, strict=True):
        if key == "levels.3.norm.0.bias":  # BatchNorm after it removes any shift: exactly zero
            near(found, torch.zeros_like(found), 10 * forward)
        else:
            near(found.norm(), norm, 0, rtol=backward)
            near((found[index] - value).norm(), torch.tensor(0.0), backward * value.norm().item())


@pytest.mark.parametrize("size", ["t", pytest.param("s", marks=pytest.mark.full)])
@torch.no_grad()
def test_hugging_face_checkpoints(size: str, tmp_path: Any) -> None:
    """A file with the published names, loaded as a user would; compared with the published modelling code."""
    truth = golden(f"internimage_{size}_hf")
    model = filled(f"internimage_{size}_1k_224")
    official = {official: model.state_dict()[ours] for ours, official in official_names(model).items()}
    save_file({theirs: official[key] for theirs, key in truth.info["keys"]}, tmp_path / "model.safetensors")
    loaded = create_model(f"internimage_{size}_1k_224", checkpoint=tmp_path)
    features = loaded.forward_intermediates(fill.make_input((1, 3, 96, 128), 0))
    near(features.logits, truth["logits"], 1e-5)
    near(features.pooled, truth["pooler_output"], 1e-5)
    near(features.maps[-1], truth["last_hidden_state_nchw"], 5e-5)
    moments = torch.stack([torch.stack(torch.std_mean(m.double(), correction=0)) for m in features.maps])
    near(moments, torch.stack((truth["hidden_states_std"], truth["hidden_states_mean"]), 1), 1e-5)
    near(torch.nn.functional.cross_entropy(features.logits, torch.tensor([3])), truth["loss_label3"], 1e-5)


@pytest.mark.parametrize("name", manifests())
def test_names_of_released_checkpoints(name: str) -> None:
    """Every key, shape, dtype and their order; both layouts, both directions."""
    manifest, config = manifests()[name], get_recipe(name).config
    official = [key for key, _, _ in manifest["state_dict"]]
    widths = [shape[0] for key, shape, _ in manifest["state_dict"] if key == "meta_head_1.0.bias"]
    assert config == config_from_official(manifest["config"], *widths)
    with torch.device("meta"):
        state = ImageClassifier(config).state_dict()
    assert [[list(t.shape), str(t.dtype)] for t in state.values()] == [
        [shape, f"torch.{dtype}"] for _, shape, dtype in manifest["state_dict"]
    ]
    published = {"official": official, "hf": ["model." + key.replace("gamma", "layer_scale") for key in official]}
    for layout, keys in published.items():
        assert from_ours(state, layout, config) == dict(zip(state, keys, strict=True))
        assert to_ours(keys, layout, config) == dict(zip(keys, state, strict=True))
    assert get_recipe(name).parameters == manifest["parameters"]


def sampling_flops(input: Any, offset: Any, mask: Any, *geometry: Any, **_: Any) -> int:
    """Two per multiply-addition; each output channel takes four pixels for each point of its group."""
    groups = geometry[8]
    return 2 * 4 * math.prod(mask[:3]) * (mask[3] // groups) * input[3]


def packed_flops(input: Any, packed: Any, *geometry: Any, **_: Any) -> int:
    """The same, where the points are told by the kernel's size."""
    points = geometry[0] * geometry[1] - int(geometry[10])
    return 2 * 4 * math.prod(packed[:3]) * points * input[3]


def attention_flops(value: Any, location: Any, *_: Any, **__: Any) -> int:
    """Each head blends four pixels of its channels and adds the result, for each point of each query."""
    return 2 * 5 * math.prod(location[:-1]) * value[-1]


def slow(name: str) -> bool:
    """Networks from L on, and released segmenters, take seconds each, even without weights; some are there twice."""
    recipe = get_recipe(name)
    large = recipe.parameters > 130_000_000 or (recipe.task == "segmentation" and recipe.training is not None)
    return large or ("_1x_" in name and name.replace("_1x_", "_3x_") in list_models())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] if slow(name) else []) for name in list_models()]
)
@torch.no_grad()
def test_costs_in_recipes(name: str) -> None:
    """Detectors at 800x1280 pixels, with 1,000 RoIs and 100 masks, segmenters at the size of their training crops.

    Published costs of most segmenters are for the whole frame, which has four times the crop's pixels, or twice.
    """
    recipe = get_recipe(name)
    ops = torch.ops.internimage
    sampling = {ops.dcnv3: sampling_flops, ops.dcnv4: packed_flops, ops.ms_deform_attn: attention_flops}
    share = 1.0
    with torch.device("meta"), FlopCounterMode(display=False, custom_mapping=sampling) as counter:
        model = resolve(ARCHITECTURES[recipe.architecture].model)(recipe.config).eval()
        model.requires_grad_(False)
        if recipe.task in (
            "boxes3d",
            "occupancy",
            "topology",
            "online_map",
        ):  # what it computes depends on what cameras see
            assert sum(p.numel() for p in model.parameters()) == recipe.parameters
            return
        if recipe.task in ("describing", "generalist"):  # experts are mixed into one; of which two depends on numbers
            side = recipe.preprocessing.crop if recipe.task == "describing" else recipe.config.side
            type(model)(dataclasses.replace(recipe.config, experts=0)).eval().requires_grad_(False).encode_pictures(
                torch.empty(1, 3, side, side)
            )
        elif recipe.task == "segmentation":
            crop = recipe.training.augmentation.crop if recipe.training else (320, 320)
            model(torch.empty(1, 3, *crop), coarse=True)
            whole = recipe.architecture != "mask2former" and crop != (896, 896)
            share = 0.25 if whole else 0.5 if recipe.config.window else 1.0
        elif isinstance(recipe.preprocessing, Preprocessing):
            model(torch.empty(1, 3, *2 * [recipe.preprocessing.crop]))
        elif recipe.architecture in ("dino", "mask_dino"):
            model(torch.empty(1, 3, 800, 1280), [(800, 1280)], torch.ones(1, 4))
        else:
            model.rpn(model.neck(model.backbone(torch.empty(1, 3, 800, 1280))))
            for head in model.modules():
                if isinstance(head, BoxHead | MaskHead):
                    count = 1000 if isinstance(head, BoxHead) else 100
                    head(torch.empty(count, recipe.config.channels, head.size, head.size))
    assert sum(p.numel() for p in model.parameters()) == recipe.parameters
    gmacs = counter.get_total_flops() / 2e9
    assert recipe.gmacs == pytest.approx(gmacs, rel=1e-3)
    if recipe.published and recipe.published.flops:
        published = share * float(recipe.published.flops.removesuffix("G"))
        assert gmacs == pytest.approx(published, rel=0.06 if recipe.architecture == "mask2former" else 0.05)


@pytest.mark.parametrize(
    ("size", "out_indices"), [((1, 1), (0, 1, 2, 3)), ((33, 64), (1, 3)), ((75, 109), (0,)), ((75, 109), (0, 1, 2, 3))]
)
@torch.no_grad()
def test_features(size: tuple[int, int], out_indices: tuple[int, ...]) -> None:
    """Strides 4 to 32, sizes rounded up, and the maps that the classifier sees."""
    backbone = create_model("internimage_atto", features_only=True, out_indices=out_indices)
    classifier = filled("internimage_atto")
    backbone.load_state_dict(classifier.backbone.state_dict())
    images = fill.make_input((2, 3, *size), 0)
    maps, expected = backbone(images), classifier.forward_intermediates(images).maps
    assert backbone.feature_strides == tuple(4 * 2**index for index in out_indices)
    for found, index, stride, width in zip(
        maps, out_indices, backbone.feature_strides, backbone.feature_channels, strict=True
    ):
        near(found, expected[index], 1e-5)  # bits may depend on where weights lie in memory
        assert found.shape == (2, width, *(math.ceil(side / stride) for side in size))


@pytest.mark.parametrize("name", ["mini_h", "mini_g", "mini_meta_h"])
@torch.no_grad()
def test_sizes_that_attention_pooling_takes(name: str) -> None:
    model = filled(mini_config(name))
    for size, outcome in golden("mini").info["models"][name]["sizes_accepted"].items():
        images = torch.zeros(1, 3, *(int(side) for side in size.strip("()").split(",")))
        if outcome == "ok":
            assert model(images).shape == (1, 10)
        else:
            with pytest.raises(InputSizeError, match="multiples of 32"):
                model(images)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 64, 64, 3)])
def test_only_batches_of_rgb(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputSizeError, match=r"expected \(N, 3, H, W\)"):
        InternImage(TINY)(torch.zeros(shape))
    with pytest.raises(InputSizeError, match=r"torch\.uint8; expected"):
        InternImage(TINY)(torch.zeros((1, 3, 64, 64), dtype=torch.uint8))


@pytest.mark.parametrize("stages", range(5))
def test_freezing(stages: int) -> None:
    """Stem and first stages; a stage's downsampling belongs to the next; frozen parts stay in evaluation mode."""
    model = create_model("internimage_atto")
    model.freeze(stages)
    model.train()
    fixed = ["backbone.stem."] * (stages > 0)
    fixed += [f"backbone.stages.{index}.{part}." for index in range(stages) for part in ("blocks", "norm")]
    fixed += [f"backbone.stages.{index}.downsample." for index in range(stages - 1)]
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        assert parameter.requires_grad == owner.training == (not name.startswith(tuple(fixed))), name
    model.freeze(0)
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_drop_path_is_that_of_torchvision(training: bool) -> None:
    ours, theirs = DropPath(0.3).train(training), StochasticDepth(0.3, "row").train(training)
    x = torch.ones(20_000, 2, 1, 1)
    torch.manual_seed(0)
    found = ours(x)
    torch.manual_seed(0)
    assert torch.equal(found, theirs(x))
    assert found.mean().item() == pytest.approx(1.0, abs=0.015)  # three standard deviations


def test_drop_path_rates_rise_linearly() -> None:
    model = ImageClassifier(ClassifierConfig(TINY))
    model.backbone.set_drop_path_rate(0.4)
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx(np.linspace(0, 0.4, sum(TINY.depths)))


def training_gradients(model: torch.nn.Module) -> list[Tensor]:
    """Logits, and the gradient of every parameter, in float64; drop path draws the same samples each time."""
    torch.manual_seed(0)
    logits = model(fill.make_input((4, 3, 64, 96), 0).double())
    return [logits.detach(), *torch.autograd.grad(logits.square().sum(), list(model.parameters()))]


CONFIGS = {
    "conv": ClassifierConfig(TINY, 10),
    "attention_pool": ClassifierConfig(TINY_POOL, 10, "attention_pool"),
    "flash": ClassifierConfig(dataclasses.replace(TINY, layer="dcnv4"), 10),
}
each_head = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def numbers_kept(backbone: InternImage) -> int:
    """Elements that the forward pass keeps for the backward pass."""
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        backbone(fill.make_input((4, 3, 64, 96), 0).double())
    return sum(kept)


@each_head
def test_gradient_checkpointing_keeps_less_and_changes_nothing(config: ClassifierConfig) -> None:
    model = filled(config, torch.float64).train()
    model.backbone.set_drop_path_rate(0.5)
    expected, before = training_gradients(model), numbers_kept(model.backbone)
    model.set_gradient_checkpointing()
    assert all(torch.equal(f, e) for f, e in zip(training_gradients(model), expected, strict=True))
    assert numbers_kept(model.backbone) < before / 2


def test_batch_statistics_are_counted_once_with_gradient_checkpointing() -> None:
    config, states = ClassifierConfig(dataclasses.replace(TINY, norm_layer="batch"), 10), []
    for checkpointing in (False, True):
        model = filled(config, torch.float64).train()
        model.set_gradient_checkpointing(checkpointing)
        training_gradients(model)
        states.append(model.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize(
    ("head", "backend"),
    [
        ("conv", "aot_eager"),
        *(pytest.param(head, "aot_eager", marks=pytest.mark.full) for head in ("attention_pool", "flash")),
        *(pytest.param(head, "inductor", marks=pytest.mark.full) for head in CONFIGS),
    ],
)
def test_compiles_whole(head: str, backend: str) -> None:
    model = filled(CONFIGS[head], torch.float64).train()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for found, expected in zip(training_gradients(compiled), training_gradients(model), strict=True):
        near(found, expected, 1e-11 * (1 + expected.norm().item()))


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        pytest.param(
            get_recipe("internimage_atto").config, [(1, 3, 75, 109), (3, 3, 224, 160)], marks=pytest.mark.full
        ),
        (CONFIGS["attention_pool"], [(1, 3, 64, 160), (3, 3, 224, 96)]),
    ],
    ids=["atto", "attention_pool"],
)
@torch.no_grad()
def test_exports_with_any_batch_and_size(config: ClassifierConfig, shapes: list[tuple[int, ...]]) -> None:
    model, free = filled(config), torch.export.Dim.DYNAMIC
    images = fill.make_input((2, 3, 96, 128), 0)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: free, 2: free, 3: free},)).module()
    for shape in shapes:
        images = fill.make_input(shape, 1)
        near(program(images), model(images), 1e-5)


@torch.no_grad()
def test_bfloat16_autocast_costs_no_more_than_its_own_precision() -> None:
    model, images = filled(ClassifierConfig(TINY, 10)), fill.make_input((2, 3, 96, 128), 0)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images)
    exact = model(images)
    assert (found - exact).norm() <= 2 * torch.finfo(torch.bfloat16).eps * exact.norm()


@each_head
@torch.no_grad()
def test_other_classifiers(config: ClassifierConfig) -> None:
    model, images = filled(config), fill.make_input((1, 3, 64, 64), 0)
    features = model.forward_intermediates(images)
    model.keep_classes([7, 2, 2])
    assert model.num_classes == model.config.num_classes == 3
    near(model(images), features.logits[:, [7, 2, 2]], 1e-6)
    model.reset_classifier(5)
    assert model(images).shape == (1, model.num_classes) == (1, model.config.num_classes) == (1, 5)
    model.reset_classifier(0)
    assert model.num_classes == model.config.num_classes == 0
    assert torch.equal(model(images), features.pooled)


@torch.no_grad()
def test_unknown_time_and_place_are_zeros() -> None:
    model, images = filled(mini_config("mini_meta_h")), fill.make_input((2, 3, 64, 96), 0)
    assert torch.equal(model(images), model(images, torch.zeros(2, 4), torch.zeros(2, 3)))
    with pytest.raises(ConfigError, match="only a plain linear classifier"):
        model.keep_classes([0])
    model.reset_classifier(4)
    assert model(images, *metadata(2, model.config, torch.float32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": (2, 4)}, "same number of stages"),
        ({"groups": (2, 4, 8, 15)}, "256 channels do not divide into 15 groups"),
        ({"groups": (0, 4, 8, 16)}, "groups"),
        ({"channels": 1}, "channels 2"),
        ({"layer_scale": "1e-5"}, "layer_scale is '1e-5'; expected a number or None"),
        ({"depthwise_kernel_size": 4}, "expected an odd number"),
        ({"depthwise_kernel_size": -1}, "depthwise_kernel_size is -1"),
        ({"res_post_norm": True, "post_norm": True}, "res_post_norm cannot be combined"),
        ({"res_post_norm": True, "layer_scale": 1e-5}, "res_post_norm cannot be combined"),
        ({"norm_layer": "group"}, "unknown norm_layer 'group'"),
        ({"activation": "tanh"}, "unknown activation 'tanh'"),
        ({"post_norm_blocks": (2,)}, "not ascending blocks of the third stage"),
        ({"post_norm_blocks": (1, 1)}, "not ascending blocks of the third stage"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"head": "mlp"}, "unknown head 'mlp'"),
        ({"metadata_channels": -1}, "metadata_channels"),
        ({"out_indices": (1, 0)}, "not ascending stage numbers from 0 to 3"),
        ({"out_indices": (4,)}, "not ascending stage numbers from 0 to 3"),
        ({"out_indices": ()}, "not ascending stage numbers from 0 to 3"),
        ({"drop_path": 1.0}, "expected 0 <= rate < 1"),
        ({"freeze": 5}, "cannot freeze 5 stages; the network has 4"),
    ],
)
def test_wrong_architectures(changes: dict[str, Any], message: str) -> None:
    def of(kind: type) -> dict[str, Any]:
        return {name: value for name, value in changes.items() if name in kind.__dataclass_fields__}

    def build() -> None:
        backbone = dataclasses.replace(TINY, **of(InternImageConfig))
        ImageClassifier(ClassifierConfig(backbone, **of(ClassifierConfig)))
        network = InternImage(backbone, changes.get("out_indices", (3,)))
        network.set_drop_path_rate(changes.get("drop_path", 0.0))
        network.freeze(changes.get("freeze", 0))

    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        build()
