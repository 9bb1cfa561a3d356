"""FlashInternImage: networks and deformable layers against the released code, and InternImage on DCNv4's operator."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import fill
from helpers.detectors import build
from helpers.goldens import GOLDENS, config_from_official, filled, law_of_weights, near, official_names
from torch import Tensor

import internimage as ii
from internimage.backbones.config import InternImageConfig
from internimage.backbones.deformable import DCNv4
from internimage.checkpoints.layouts import from_ours, to_ours
from internimage.errors import CheckpointMismatchError, ConfigError
from internimage.models.classifier import ClassifierConfig
from internimage.ops import dcnv4
from internimage.recipes import get_training_recipe
from internimage.settings.training import RunConfig
from internimage.training.initial import initial_model
from internimage.training.optimiser.groups import parameter_rules

MINIS: dict[str, Any] = json.loads((GOLDENS / "flash.json").read_text())
SMALL = InternImageConfig(
    channels=16, depths=(1, 1, 2, 1), groups=(1, 2, 4, 8), layer="dcnv4", output_bias=False, mlp_bias=False
)


@cache
def truth() -> dict[str, Tensor]:
    """Of T and the small networks what CI checks; the rest is read from the shared folder."""
    with np.load(GOLDENS / "flash.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def samples(tensor: Tensor, count: int) -> Tensor:
    places = torch.arange(min(count, tensor.numel())) * 1_000_003 % tensor.numel()
    return tensor.contiguous().flatten()[places]


@pytest.mark.full
def test_goldens_are_copies(shared: Path) -> None:
    files = {"t/": np.load(shared / "goldens/flash/flash_internimage_t.npz")}
    files["mini/"] = np.load(shared / "goldens/flash/flash_mini.npz")
    for name, tensor in truth().items():
        start = name[: name.index("/") + 1]
        assert np.array_equal(files[start][name.removeprefix(start)], tensor.numpy()), name
    models = json.loads((shared / "goldens/flash/flash_mini.json").read_text())["models"]
    assert {name: model["kwargs"] for name, model in models.items()} == MINIS


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        ("flash_intern_image_t_1k_224", torch.float64, 1e-10),
        ("flash_intern_image_t_1k_224", torch.float32, 5e-6),
        pytest.param("flash_intern_image_s_1k_224", torch.float32, 1e-5, marks=pytest.mark.full),
        pytest.param("flash_intern_image_s_1k_224", torch.float64, 1e-10, marks=pytest.mark.full),
        pytest.param("flash_internimage_l_22kto1k_384", torch.float64, 1e-10, marks=pytest.mark.full),
        pytest.param("flash_internimage_l_22kto1k_384", torch.float32, 5e-5, marks=pytest.mark.full),
    ],
)
def test_released_networks(name: str, dtype: torch.dtype, tolerance: float, request: pytest.FixtureRequest) -> None:
    """Logits and maps of one image, and of two of an odd size."""
    size = name.split("_image_")[-1][0] if "_image_" in name else "l"
    data = {key.removeprefix("t/"): value for key, value in truth().items()}
    if size != "t":
        file = request.getfixturevalue("shared") / f"goldens/flash/flash_internimage_{size}.npz"
        data = {key: torch.from_numpy(value) for key, value in np.load(file).items()}
    model = filled(name, dtype)
    for start, images in (("", fill.make_input((1, 3, 96, 128), 0)), ("odd_", fill.make_input((2, 3, 75, 109), 2))):
        found = model.forward_intermediates(images.to(dtype))
        near(found.logits, data[f"{start}logits_f64"], tolerance)
        for level, one in enumerate(found.maps):
            near(samples(one, 256), data[f"{start}level{level}_samples_f64"], 5 * tolerance)
            near(one.double().norm(), data[f"{start}level{level}_l2_f64"], 0, rtol=1e-6)


def gradients_agree(model: Any, images: Tensor, norms: Tensor, products: Tensor) -> None:
    """Of every parameter: the norm, and the product with a direction that its name gives."""
    logits = model(images)
    (logits * fill.make_input(tuple(logits.shape), 0, "cotangent").double()).sum().backward()
    names = official_names(model)
    for (ours, parameter), norm, product in zip(model.named_parameters(), norms, products, strict=True):
        direction = torch.from_numpy(fill.uniform(f"dir:{names[ours]}", tuple(parameter.shape))).double()
        near(parameter.grad.norm(), norm, 1e-12, rtol=1e-9)
        near((parameter.grad * direction).sum(), product, 1e-9 * float(norm) * direction.numel() ** 0.5)


def test_gradients_of_t() -> None:
    model = filled("flash_intern_image_t_1k_224", torch.float64)
    images = fill.make_input((1, 3, 96, 128), 0).double()
    gradients_agree(model, images, truth()["t/grad_norm_f64"], truth()["t/grad_dot_f64"])


@pytest.mark.parametrize("name", MINIS)
def test_every_switch(name: str, request: pytest.FixtureRequest) -> None:
    """Logits and gradients in float64; maps too in the full suite.

    The released ``res_post_norm`` leaves its norms out where there is a layer scale: their gradients are zero.
    """
    options, data = dict(MINIS[name]), {key.removeprefix(f"mini/{name}/"): value for key, value in truth().items()}
    if options.get("layer_scale"):
        options["res_post_norm"] = False
    config = config_from_official({"core_op": "DCNv4", **options})
    model = filled(config, torch.float64)
    images = fill.make_input((2, 3, 64, 96), 0).double()
    near(model(images), data["logits"], 1e-10)
    used = data["grad_norm"] != 0
    gradients_agree(model, images, data["grad_norm"][used], data["grad_dot"][used])
    if not request.config.getoption("markexpr"):
        full = np.load(request.getfixturevalue("shared") / "goldens/flash/flash_mini.npz")
        for level, one in enumerate(model.forward_intermediates(images).maps):
            near(samples(one, 512), torch.from_numpy(full[f"{name}/level{level}_samples"]), 1e-10)


def test_layers_start_on_the_grid_with_weights_of_zero() -> None:
    """As the released initial values: a block is then its residual path and MLP alone."""
    layer = DCNv4(32, 2, InternImageConfig(channels=32, depths=(1,), groups=(2,), layer="dcnv4"))
    layer.reset_parameters()
    assert not layer.offset_mask.weight.any()
    assert not layer.offset_mask.bias.any()
    assert layer.offset_mask.weight.shape == (56, 32)
    for projection in (layer.input_proj, layer.output_proj):
        assert float(projection.weight.detach().std()) == pytest.approx(32**-0.5, rel=0.1)
    assert not layer(torch.randn(1, 4, 5, 32)).any()


@pytest.mark.full
def test_layers_alone(shared: Path) -> None:
    """The module's eight configurations; what no network uses is put together here from the operator."""
    path = shared / "goldens/flash/dcnv4_module"
    data, modules = np.load(path.with_suffix(".npz")), json.loads(path.with_suffix(".json").read_text())["modules"]
    law = law_of_weights(shared / "goldens/fill_flash.py")
    for name, module in modules.items():
        options = module["kwargs"]
        channels, groups, taps = options["channels"], options["group"], 9 - options.get("remove_center", False)
        p = {
            key: law.tensor_for(f"module.dcn.{key}", shape, 0, taps=taps, groups=groups).double()
            for key, shape in module["state_dict"]
        }
        tokens = law.make_input((2, 30, channels), 0, "tokens").double().requires_grad_()
        x = tokens.unflatten(1, (6, 5))
        if not options.keys() & {"center_feature_scale", "without_pointwise", "dilation"}:
            config = InternImageConfig(
                channels=channels,
                depths=(1,),
                groups=(groups,),
                layer="dcnv4",
                offset_scale=options.get("offset_scale", 1.0),
                depthwise_kernel_size=options.get("dw_kernel_size"),
                remove_center=options.get("remove_center", False),
                output_bias=options.get("output_bias", True),
            )
            layer = DCNv4(channels, groups, config).double()
            renamed = {"value_proj": "input_proj", "offset_mask_dw": "depthwise"}
            layer.load_state_dict({".".join(renamed.get(a, a) for a in key.split(".")): t for key, t in p.items()})
            output = layer(x)
        else:
            value = x if "value_proj.weight" not in p else F.linear(x, p["value_proj.weight"], p["value_proj.bias"])
            seen = x
            if "offset_mask_dw.weight" in p:
                weight = p["offset_mask_dw.weight"]
                image = F.conv2d(
                    x.permute(0, 3, 1, 2),
                    weight,
                    p["offset_mask_dw.bias"],
                    padding=weight.shape[-1] // 2,
                    groups=channels,
                )
                seen = image.permute(0, 2, 3, 1)
            output = dcnv4(
                value,
                F.linear(seen, p["offset_mask.weight"], p["offset_mask.bias"]),
                groups=groups,
                padding=options.get("pad", 1),
                dilation=options.get("dilation", 1),
                offset_scale=options.get("offset_scale", 1.0),
                remove_center=options.get("remove_center", False),
            )
            if "center_feature_scale_proj_weight" in p:
                logits = F.linear(output, p["center_feature_scale_proj_weight"], p["center_feature_scale_proj_bias"])
                gate = logits.sigmoid().repeat_interleave(channels // groups, -1)
                output = torch.lerp(output, value, gate)
            if "output_proj.weight" in p:
                output = F.linear(output, p["output_proj.weight"], p.get("output_proj.bias"))
        output = output.flatten(1, 2)
        near(output, torch.from_numpy(data[f"{name}/output"]), 1e-10)
        (gradient,) = torch.autograd.grad(output, tokens, law.make_input((2, 30, channels), 0, "cotangent").double())
        near(gradient, torch.from_numpy(data[f"{name}/grad_input"]), 1e-9)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size", "dtype", "tolerance"),
    [
        ("small", (224, 224), torch.float64, 1e-12),
        *(
            pytest.param(f"flash_intern_image_{name}", (224, 224), torch.float64, 1e-10, marks=pytest.mark.full)
            for name in ("t_1k_224", "s_1k_224", "b_1k_224", "l_22k_384")
        ),
        *(
            pytest.param("flash_intern_image_t_1k_224", size, torch.float32, 1e-4, marks=pytest.mark.full)
            for size in ((384, 384), (800, 1216), (800, 1344))
        ),
    ],
)
def test_eight_images_are_computed_as_alone(
    name: str, size: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    """Maps of whole networks; where the published launch mixes neighbours up they are off by tenths."""
    backbone: Any = filled(ClassifierConfig(SMALL, 10) if name == "small" else name, dtype).backbone
    images = fill.make_input((8, 3, *size), 0).to(dtype)
    alone = [backbone(image) for image in images.split(1)]
    for level, together in enumerate(backbone(images)):
        near(together, torch.cat([maps[level] for maps in alone]), tolerance)


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (384, 384), (800, 1216), (800, 1344)])
def test_the_operator_takes_no_pixel_of_a_neighbour(size: tuple[int, int]) -> None:
    """Bit for bit, on the maps of all stages at the sizes of launch_defect.json."""
    random = torch.Generator().manual_seed(0)
    for stride in (4, 8, 16, 32):
        shape = (8, -(-size[0] // stride), -(-size[1] // stride))
        value, packed = (torch.randn(*shape, width, generator=random) for width in (16, 32))
        alone = [dcnv4(*pair, groups=1) for pair in zip(value.split(1), packed.split(1), strict=True)]
        assert torch.equal(dcnv4(value, packed, groups=1), torch.cat(alone))


@torch.no_grad()
@pytest.mark.parametrize(("softmax", "remove_center"), [(True, False), (False, True)])
def test_internimage_runs_on_the_operator_of_dcnv4(softmax: bool, remove_center: bool) -> None:
    options: dict[str, Any] = {"mask_softmax": softmax, "remove_center": remove_center, "center_feature_scale": True}
    config = InternImageConfig(channels=16, depths=(1, 1, 2, 1), groups=(1, 2, 4, 8), **options)
    networks = [
        filled(ClassifierConfig(InternImageConfig(**{**vars(config), "operator": kind}), 10), torch.float64)
        for kind in ("dcnv3", "dcnv4")
    ]
    images = fill.make_input((2, 3, 75, 109), 0).double()
    near(networks[1](images), networks[0](images), 1e-13)


def test_the_operator_is_a_choice_of_create_model(tmp_path: Path) -> None:
    plain = ii.create_model("internimage_atto", num_classes=3)
    folder = ii.save_model(plain, tmp_path / "atto")
    packed: Any = ii.create_model("internimage_atto", num_classes=3, checkpoint=folder, operator="dcnv4")
    assert packed.config.backbone.operator == "dcnv4"
    images = torch.randn(1, 3, 64, 64)
    near(packed(images), plain(images), 1e-5)
    again: Any = ii.load_model(ii.save_model(packed, tmp_path / "packed"))
    assert again.config.backbone.operator == "dcnv4"
    maps = ii.create_model("internimage_atto", features_only=True, operator="dcnv4")(images)
    assert [one.shape[1] for one in maps] == [32, 64, 128, 256]
    assert InternImageConfig(**{**vars(SMALL), "operator": "dcnv4"}) == SMALL
    with pytest.raises(ConfigError, match="DCNv4 layers run on the operator dcnv4 alone"):
        ii.create_model("flash_intern_image_t_1k_224", operator="dcnv3")
    with pytest.raises(ConfigError, match="unknown operator 'dcnv5'"):
        ii.create_model("internimage_atto", operator="dcnv5")
    flash = ii.save_model(ii.create_model("flash_intern_image_t_1k_224", num_classes=2), tmp_path / "flash")
    with pytest.raises(ConfigError, match="hf layout is for classifiers with DCNv3"):
        ii.convert_checkpoint(flash, tmp_path / "hf", "hf")
    with pytest.raises(
        CheckpointMismatchError, match=r"backbone is FlashInternImage \(DCNv4\), the model's InternImage"
    ):
        ii.create_model("internimage_t_1k_224", num_classes=2, checkpoint=flash)
    with pytest.raises(CheckpointMismatchError, match="start from a classifier on InternImage of the same size"):
        started("mask_rcnn_internimage_t_fpn_1x_coco", flash)


def started(name: str, init: Path) -> Any:
    """The model that a run of two classes starts with."""
    return initial_model(RunConfig("", model=name, init=str(init)), ii.get_recipe(name), ("a", "b"))


def test_how_a_saved_detector_samples_does_not_matter_to_training(tmp_path: Path) -> None:
    detector = ii.create_model("mask_rcnn_internimage_atto_fpn", num_classes=2, operator="dcnv4")
    folder = ii.save_model(detector, tmp_path / "detector", labels=("a", "b"))
    state = started("mask_rcnn_internimage_atto_fpn", folder).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in detector.state_dict().items())


@pytest.mark.parametrize(
    ("name", "block", "decay", "offset_scale", "images"),
    [
        ("flash_internimage_l_22kto1k_384", "2.blocks.20", (0.531441, 0.0531441, 0.0531441), 2.0, None),
        ("mask_rcnn_flash_internimage_t_fpn_1x_coco", "3.blocks.3", (1.0, 1.0, 1.0), 1.0, 16),
        ("mask_rcnn_flash_internimage_b_fpn_3x_coco", "3.blocks.3", (0.9, 0.9, 0.009), 0.5, 32),
        ("dino_4scale_flash_internimage_b_1x_coco", "2.blocks.20", (0.59049, 0.59049, 0.59049), 0.5, 32),
    ],
)
def test_rates_of_published_training(
    name: str, block: str, decay: tuple[float, float, float], offset_scale: float, images: int | None
) -> None:
    """Of projections, the depthwise convolution and what predicts offsets; 500 updates of so many images warm up."""
    recipe, training = ii.get_recipe(name), get_training_recipe(name).training
    model = build(name, "meta")

    def rates(**changes: float) -> list[float]:
        options = {"layer_decay": training.layer_decay, "deformable_lr_scale": training.deformable_lr_scale, **changes}
        rules = parameter_rules(model, weight_decay=0.05, as_published=training.published_groups, **options)
        layers = ("input_proj", "depthwise", "offset_mask")
        names = [f"backbone.stages.{block}.dcn.{layer}.weight" for layer in layers]
        return [rules[name].lr_scale for name in names if name in rules]

    expected = decay if recipe.config.backbone.depthwise_kernel_size else (decay[0], decay[2])
    assert rates() == pytest.approx(expected)
    assert recipe.config.backbone.offset_scale == offset_scale
    if images:
        assert training.warmup_epochs * -(-117_266 // images) == pytest.approx(500)
        assert rates(deformable_lr_scale=0.5)[-1] == pytest.approx(0.5 * decay[0])


@torch.no_grad()
@pytest.mark.full
@pytest.mark.parametrize("size", "ts")
def test_internimage_equals_the_reference_on_the_operator_of_dcnv4(shared: Path, size: str) -> None:
    data = np.load(shared / "goldens/flash/dcnv3_with_dcnv4_op.npz")
    config = ii.get_recipe(f"internimage_{size}_1k_224").config
    backbone = InternImageConfig(
        **{**vars(config.backbone), "operator": "dcnv4", "layer_scale": 1.0 if size == "t" else 1e-5}
    )
    model = filled(ClassifierConfig(backbone, 10), torch.float64)
    for level, one in enumerate(model.backbone(fill.make_input((2, 3, 75, 109), 0).double())):
        near(samples(one, 256), torch.from_numpy(data[f"internimage_{size}/feature{level}_samples_f64"]), 1e-10)


@pytest.mark.full
def test_every_released_file(shared: Path) -> None:
    """Where it is, its score, names and shapes of all tensors both ways, rate and decay of classifiers' parameters."""
    files = sorted((shared / "spec/checkpoints/flash").glob("*.json"))
    assert len(files) == 26
    for file in files:
        given = json.loads(file.read_text())
        name = Path(given["checkpoint"] or f"{given['config']}.pth").stem
        recipe = ii.get_recipe(name)
        assert (recipe.weights and recipe.weights.url) == given["url"]  # type: ignore[union-attr]
        scores = given["published"] or {}
        found = recipe.published
        assert (found and found.value) == next(
            (scores[key] for key in ("acc1", "box_mAP", "mIoU_ss") if key in scores), None
        )
        assert (found and found.masks) == scores.get("mask_mAP")
        assert (found and found.multi_scale) == scores.get("mIoU_ms")
        model = build(name, "meta")
        names = from_ours(model.state_dict(), "official", model.config)
        assert to_ours(names.values(), "official", model.config) == {theirs: ours for ours, theirs in names.items()}
        shapes = {names[ours]: list(tensor.shape) for ours, tensor in model.state_dict().items()}
        state = given["state_dict"]
        rows = (
            {key: entry[0] for key, entry in state.items()} if isinstance(state, dict) else {r[0]: r[1] for r in state}
        )
        assert shapes == rows, name
        if recipe.task != "segmentation":  # the order of ours differs there
            assert list(shapes) == list(rows), name
        if "total_params" not in given and given["training"] != "not published":
            training = get_training_recipe(name).training
            rules = parameter_rules(
                model,
                weight_decay=training.weight_decay,
                layer_decay=training.layer_decay,
                deformable_lr_scale=training.deformable_lr_scale,
                as_published=True,
            )
            expected = {row[0]: (row[3], row[4]) for row in state if row[3] is not None}
            for ours, rule in rules.items():
                assert (rule.lr_scale, rule.weight_decay) == pytest.approx(expected[names[ours]], rel=1e-6), ours
