"""Segmenters against the reference numbers: networks, losses, windows, views, names of released checkpoints."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import fill_segmentation as fill
from helpers.goldens import GOLDENS, config_from_official, near
from helpers.segmenters import CONFIGURATIONS, SEGMENTERS, manifests
from torch import Tensor, nn

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import from_ours, to_ours
from internimage.errors import ConfigError
from internimage.images import FitPreprocessing, ImageSource
from internimage.images.masks import UNKNOWN
from internimage.layers.queries.hungarian import hungarian, match_masks
from internimage.layers.segmentation import average_to_grid
from internimage.models.mask2former import Mask2Former, Mask2FormerConfig, class_scores
from internimage.models.segformer import SegFormer, SegFormerConfig
from internimage.models.upernet import UperNet, UperNetConfig
from internimage.recipes import get_recipe
from internimage.registry import ARCHITECTURES, architecture_of, resolve
from internimage.results.segmentation import Segmentation
from internimage.settings.views import Window
from internimage.tasks.segmentation.views import View, decode, predict_views
from internimage.training.optimiser.groups import parameter_rules

DATA = dict(np.load(GOLDENS / "segmentation.npz", allow_pickle=False))
INFO = json.loads(str(DATA["meta_json"]))
SOURCE = ImageSource("picture", np.zeros((4, 4), np.uint8))
REDUCED = Mask2FormerConfig(
    InternImageConfig(
        channels=64,
        depths=(1, 1, 2, 1),
        groups=(2, 4, 8, 16),
        res_post_norm=True,
        depthwise_kernel_size=5,
        center_feature_scale=True,
        post_norm_blocks=(1,),
    ),
    num_classes=40,
)


def build(config: Any) -> Any:
    return resolve(ARCHITECTURES[architecture_of(type(config))].model)(config)


def filled(config: Any) -> Any:
    """A segmenter with the goldens' weights, in evaluation mode."""
    with torch.device("meta"):
        model = build(config).eval()
    names = from_ours(model.state_dict(), "official", config)
    state = {
        ours: fill.tensor_for(names[ours], tensor.shape) if tensor.is_floating_point() else torch.tensor(0)
        for ours, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, assign=True)
    return model


@cache
def reduced() -> Mask2Former:
    return filled(REDUCED)


@cache
def upernet() -> UperNet:
    return filled(get_recipe("upernet_internimage_t_512_160k_ade20k").config)


def result(views: list[View], size: tuple[int, int]) -> Segmentation:
    classes = len(views[0].parts[0][1])
    return decode(views, size, SOURCE, tuple(map(str, range(classes))), None, keep_scores=True)


def same_labels(
    found: Segmentation, expected: np.ndarray[Any, Any], margin: np.ndarray[Any, Any], least: float
) -> None:
    """Equal wherever the best class is ahead by more than ``least``."""
    clear = margin.astype(np.float32) > least
    assert clear.mean() > 0.9
    assert (found.label_map == expected)[clear].all()


def test_mask2former_equals_the_reference() -> None:
    """Classes before the first layer, in between and after the last, scores, labels; whole, in parts, mirrored."""
    model, image = reduced(), fill.make_input((1, 3, 128, 160), 2)
    with torch.no_grad():
        layers = model.predict_masks(model.backbone(image))
        scores = class_scores(layers[-1])[0]
    for number in (0, 4, 9):
        near(layers[number].logits, torch.from_numpy(DATA[f"mask2former/layer{number}"]), 5e-5)
    rows, columns = DATA["mask2former/semantic_lowres/pixels"].T
    near(scores[:, rows, columns].T, torch.from_numpy(DATA["mask2former/semantic_lowres/values"]), 5e-5)
    views = {
        "label": predict_views(model, image, None),
        "slide/label": predict_views(model, image, Window((96, 96), (64, 64))),
        "fliptta/label": [*predict_views(model, image, None), *predict_views(model, image, None, mirrored=True)],
    }
    for name, seen in views.items():
        least = 1e-5 if name == "fliptta/label" else 1e-3
        found = result(seen, (128, 160))
        clear = DATA[f"mask2former/{name}/margin"].astype(np.float32) > least
        assert clear.mean() > 0.5
        assert (found.label_map == DATA[f"mask2former/{name}"])[clear].all(), name


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The goldens' random points in their order; the shapes that were asked for."""
    calls: list[tuple[int, ...]] = []

    def next_points(shape: tuple[int, int], device: torch.device) -> Tensor:
        calls.append(shape)
        return fill.make_points(len(calls) - 1, (*shape, 2))

    monkeypatch.setattr("internimage.layers.queries.points.random_points", next_points)
    return calls


def loss_data() -> tuple[Tensor, Tensor]:
    truth = fill.make_label((2, 96, 128), 40, cell=32)
    return fill.make_input((2, 3, 96, 128), 11), torch.where(truth == 255, UNKNOWN, truth)


def test_mask2former_learns_what_the_reference_learns(
    points: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every matching, every loss of every layer, the norm of every gradient."""
    matches = []

    def recorded(*arguments: Any) -> Any:
        matches.append(match_masks(*arguments))
        return matches[-1]

    monkeypatch.setattr("internimage.models.mask2former.match_masks", recorded)
    model = reduced()
    images, truth = loss_data()
    losses = model.losses(images, truth)
    assert points[:4] == [(1, 12544), (1, 12544), (18, 37632), (18, 3136)]
    for number in range(20):
        expected = torch.from_numpy(DATA[f"loss/layer{number // 2}/img{number % 2}"].astype(np.int64))
        queries, objects = matches[number]
        found = torch.zeros(100, dtype=torch.int64)
        found[queries] = objects + 1
        assert torch.equal(found, expected)
    for number in range(10):
        prefix = "" if number == 9 else f"d{number}."
        for ours, theirs in (("class", "loss_cls"), ("pixels", "loss_mask"), ("dice", "loss_dice")):
            expected = INFO["mask2former_losses"][prefix + theirs]
            assert losses[f"{ours}{number}"].item() == pytest.approx(expected, rel=3e-5)
    torch.stack(list(losses.values())).sum().backward()
    norms = dict(zip(DATA["loss/grad_norm_keys"].tolist(), DATA["loss/grad_norm_values"].tolist(), strict=True))
    names = from_ours(model.state_dict(), "official", model.config)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm().item() == pytest.approx(norms[names[name]], rel=1e-3, abs=1e-6), name
    model.zero_grad(set_to_none=True)


@pytest.mark.usefixtures("points")
def test_an_image_of_which_nothing_is_known_teaches_that_there_is_nothing() -> None:
    model = reduced()
    images, truth = loss_data()
    truth[1] = UNKNOWN
    with torch.no_grad():
        layers = model.predict_masks(model.backbone(images))
        losses = model.losses_on(layers[-1:], truth)
        nothing = model.losses_on(layers[-1:], torch.full_like(truth, UNKNOWN))
    expected = INFO["empty"]
    for ours, theirs in (("class0", "cls"), ("pixels0", "mask"), ("dice0", "dice")):
        assert losses[ours].item() == pytest.approx(expected[theirs], rel=1e-5)
    assert nothing["pixels0"] == nothing["dice0"] == 0 < nothing["class0"]


def test_upernet_equals_the_reference() -> None:
    """Labels at the network's size, and logits and labels enlarged twice, to the original's size."""
    views = predict_views(upernet(), fill.make_input((1, 3, 128, 160)), None)
    same_labels(result(views, (128, 160)), DATA["upernet/whole/label"], DATA["upernet/whole/label/margin"], 1e-3)
    name = "upernet/whole/rescaled_100x123"
    same_labels(result(views, (100, 123)), DATA[name], DATA[f"{name}/margin"], 1e-3)
    rows, columns = DATA[f"{name}/pixels"].T
    enlarged = views[0].logits(slice(None), (100, 123))[:, rows, columns].T
    near(enlarged, torch.from_numpy(DATA[f"{name}/values"]), 5e-5 * 4)


def test_pictures_are_scaled_twice() -> None:
    """Keeping the shape, then up to multiples of 32, to the bit; the first of three scales shrinks."""
    picture = DATA["pictures/image_bgr_u8"][..., ::-1]
    from PIL import Image

    for number, factor in ((0, 0.75), (2, 1.0), (4, 1.25)):
        prepare = FitPreprocessing(int(96 * factor), int(160 * factor), (0, 0, 0), (1, 1, 1), 32)
        found = prepare(Image.fromarray(np.ascontiguousarray(picture)))
        expected = DATA[f"pictures/aug{number}"][..., ::-1].transpose(2, 0, 1)
        assert (found.numpy() == expected).all()


@pytest.mark.parametrize(
    ("size", "window", "expected"),
    [
        ((128, 160), Window((96, 96), (48, 56)), [(0, 0), (0, 56), (0, 64), (32, 0), (32, 56), (32, 64)]),
        ((96, 97), Window((96, 96), (96, 96)), [(0, 0), (0, 1)]),
        ((40, 50), Window((96, 96), (48, 48)), [(0, 0)]),
    ],
)
def test_windows(size: tuple[int, int], window: Window, expected: list[tuple[int, int]]) -> None:
    """The last ones are moved back inside; a smaller picture is one part; every pixel is seen."""
    parts = window.parts(*size)
    assert [part[:2] for part in parts] == expected
    seen = np.zeros(size, int)
    for top, left, bottom, right in parts:
        assert (bottom - top, right - left) == (min(size[0], window.size[0]), min(size[1], window.size[1]))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    with pytest.raises(ConfigError, match="expected 1 <= stride <= size"):
        Window((96, 96), (97, 1))


def test_classes_are_enlarged_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same result as all at once, of several views too."""
    torch.manual_seed(0)
    views = [View((((0, 0, 32, 48), 3 * torch.randn(7, 8, 12)),), (32, 48), mirrored) for mirrored in (False, True)]
    whole = result(views, (50, 70))
    logits = [nn.functional.interpolate(view.parts[0][1][None], (32, 48), mode="bilinear") for view in views]
    enlarged = [nn.functional.interpolate(one, (50, 70), mode="bilinear")[0] for one in logits]
    expected = (enlarged[0].softmax(0) + enlarged[1].flip(2).softmax(0)) / 2
    near(torch.from_numpy(whole.scores), expected, 1e-6)
    assert (whole.label_map == expected.argmax(0).numpy()).all()
    near(torch.from_numpy(whole.confidence), expected.max(0).values, 1e-6)
    monkeypatch.setattr("internimage.tasks.segmentation.views.PIXELS_AT_ONCE", 2 * 50 * 70)
    quick = decode(views[:1], (50, 70), SOURCE, tuple(map(str, range(7))), None)
    alone = enlarged[0].softmax(0)
    assert (quick.label_map == alone.argmax(0).numpy()).all()
    near(torch.from_numpy(quick.confidence), alone.max(0).values, 1e-5)
    parts = result(views, (50, 70))
    assert (parts.label_map == whole.label_map).all()
    near(torch.from_numpy(parts.scores), torch.from_numpy(whole.scores), 1e-6)


def test_the_cheapest_pairs() -> None:
    """Against all ways to assign three objects to five queries."""
    from itertools import permutations

    cost = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    rows, columns = hungarian(cost)
    best = min(permutations(range(5), 3), key=lambda rows: sum(cost[row, i].item() for i, row in enumerate(rows)))
    assert dict(zip(columns.tolist(), rows.tolist(), strict=True)) == dict(enumerate(best))
    assert rows.tolist() == sorted(rows.tolist())


@pytest.mark.parametrize("name", ["upernet_internimage_atto", "mask2former_internimage_atto"])
def test_other_classes(name: str) -> None:
    """What depends on them starts anew, all else stays; images of any size."""
    model = build(get_recipe(name).config).eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.reset_classifier(3)
    changed = {key for key, tensor in model.state_dict().items() if tensor.shape != before[key].shape}
    assert changed == {f"{'query_' if name.startswith('mask') else ''}classifier.{part}" for part in ("weight", "bias")}
    with torch.no_grad():
        assert model(torch.rand(2, 3, 33, 65)).shape == (2, 3, 33, 65)


# The cases below need the shared folder


def built(manifest: dict[str, Any]) -> Any:
    """Our configuration of a released one."""
    backbone = config_from_official({**manifest["backbone"], "num_classes": 0}).backbone
    head, classes = manifest["decode_head_effective"], manifest["decode_head_effective"]["num_classes"]
    if head["type"] == "UPerHead":
        return UperNetConfig(backbone, classes, head["channels"])
    if head["type"] == "SegformerHead":
        return SegFormerConfig(backbone, classes, head["channels"])
    options = manifest["decode_head_cfg"]
    width = options["transformer_decoder"]["transformerlayers"]["feedforward_channels"]
    inner = options["pixel_decoder"]["encoder"]["transformerlayers"]["ffn_cfgs"]["feedforward_channels"]
    return Mask2FormerConfig(
        backbone,
        classes,
        options["feat_channels"],
        options["num_queries"],
        encoder_width=inner,
        decoder_width=width,
        encoder_softmax="nsmx" not in manifest["config"],
    )


@pytest.mark.full
def test_every_configuration_is_a_recipe(shared: Path) -> None:
    stems = {file.stem for file in (shared / CONFIGURATIONS).glob("[a-z]*.json")}
    flash = {file.stem for file in (shared / CONFIGURATIONS / ".." / "flash").glob("*_ade20k*.json")}
    assert {stem.removesuffix("_ss").removesuffix("_ms") for stem in stems} | flash == set(SEGMENTERS)


@pytest.mark.full
@pytest.mark.parametrize("name", SEGMENTERS)
def test_released_names_classes_and_groups(shared: Path, name: str) -> None:
    """Every tensor both ways, classes and colours, preprocessing, and the optimiser's groups."""
    recipe = get_recipe(name)
    for manifest in manifests(shared, name):
        config = built(manifest)
        assert config == replace(recipe.config, window=None)
        with torch.device("meta"):
            model = build(config)
        names = from_ours(model.state_dict(), "official", config)
        shapes = {names[ours]: tuple(tensor.shape) for ours, tensor in model.state_dict().items()}
        assert shapes == {key: tuple(entry[0]) for key, entry in manifest["state_dict"].items()}
        assert to_ours(names.values(), "official", config) == {theirs: ours for ours, theirs in names.items()}
        from internimage.labels import load_labels, load_palette

        assert recipe.labels is not None
        assert list(load_labels(recipe.labels)) == [one.strip() for one in manifest["dataset"]["classes"]]
        assert [list(one) for one in load_palette(recipe.labels) or ()] == manifest["dataset"]["palette"]
        steps = {step["type"]: step for step in manifest["test_pipeline"][1]["transforms"]}
        short, long = sorted(manifest["test_pipeline"][1]["img_scale"])
        multiple = steps.get("ResizeToMultiple", {"size_divisor": 1})["size_divisor"]
        assert recipe.preprocessing == FitPreprocessing(short, long, multiple=multiple)
        test = manifest["test_cfg"]
        window = Window(tuple(test["crop_size"]), tuple(test["stride"])) if test["mode"] == "slide" else None
        assert recipe.config.window == window
        options = manifest["optimizer"]
        decay = options["paramwise_cfg"]["layer_decay_rate"]
        assert options["paramwise_cfg"].get("offset_lr_scale", 1.0) == 1.0
        rules = parameter_rules(model, weight_decay=options["weight_decay"], layer_decay=decay, as_published=True)
        for ours, rule in rules.items():
            group = manifest["param_groups"][manifest["state_dict"][names[ours]][3]]
            assert (rule.lr_scale, rule.weight_decay) == (pytest.approx(group["lr_scale"]), group["weight_decay"]), ours


def sampled(data: Any, key: str, found: Tensor, atol: float) -> None:
    """Against ``values`` at flat positions, or of all channels at pixels."""
    values = torch.from_numpy(data[f"{key}/values"])
    if f"{key}/index" in data:
        near(found.reshape(-1)[torch.from_numpy(data[f"{key}/index"]).long()], values, atol)
    else:
        rows, columns = torch.from_numpy(data[f"{key}/pixels"]).long().T
        near(found[0][:, rows, columns].T, values, atol)


@pytest.mark.full
def test_upernet_whole_odd_and_in_windows(shared: Path) -> None:
    data = np.load(shared / "goldens/segmentation/upernet_t_ade20k.npz")
    model, image, odd = upernet(), fill.make_input((1, 3, 128, 160)), fill.make_input((1, 3, 101, 139))
    with torch.no_grad():
        maps = model.backbone(image)
        near(model.logits(maps), torch.from_numpy(data["whole/head_logits"]), 2e-4)
        near(model.auxiliary(maps[2]), torch.from_numpy(data["whole/aux_logits"]), 2e-4)
        sampled(data, "odd/head_logits", model(odd, coarse=True), 2e-4)
    views = predict_views(model, odd, None)
    sampled(data, "odd/logits", views[0].logits(slice(None), (120, 165))[None], 2e-4)
    same_labels(result(views, (120, 165)), data["odd/label/argmax"], data["odd/label/margin_f16"], 1e-3)
    views = predict_views(model, image, Window((96, 96), (48, 56)))
    assert [part for part, _ in views[0].parts] == [
        (y1, x1, y2, x2) for y1, x1, y2, x2 in data["slide/windows_y1x1y2x2"].tolist()
    ]
    sampled(data, "slide/logits", views[0].logits(slice(None), (128, 160))[None], 2e-4)
    sampled(data, "slide/rescaled_100x123", views[0].logits(slice(None), (100, 123))[None], 2e-4)
    for size, name in (((128, 160), "slide/label"), ((100, 123), "slide/rescaled_label")):
        same_labels(result(views, size), data[f"{name}/argmax"], data[f"{name}/margin_f16"], 1e-3)
    both = [*predict_views(model, image, None), *predict_views(model, image, None, mirrored=True)]
    found = result(both, (128, 160))
    sampled(data, "fliptta/prob_h", torch.from_numpy(found.scores)[None], 1e-5)
    same_labels(found, data["fliptta/label_h/argmax"], data["fliptta/label_h/margin_f16"], 1e-5)


@pytest.mark.full
def test_upernet_on_flash_internimage(shared: Path) -> None:
    data = np.load(shared / "goldens/flash/upernet_flash_t.npz")
    model = filled(get_recipe("upernet_flash_internimage_t_512_160k_ade20k").config)
    image, odd = fill.make_input((1, 3, 128, 160)), fill.make_input((1, 3, 101, 139))
    with torch.no_grad():
        maps = model.backbone(image)
        for level, one in enumerate(maps):
            sampled(data, f"whole/backbone_feat{level}", one, 2e-5)
        sampled(data, "whole/head_logits", model.logits(maps), 5e-5)
        sampled(data, "whole/aux_logits", model.auxiliary(maps[2]), 5e-5)
        sampled(data, "odd/head_logits", model(odd, coarse=True), 5e-5)
    for key, seen, size in (("whole", image, (128, 160)), ("odd", odd, (120, 165))):
        views = predict_views(model, seen, None)
        sampled(data, f"{key}/logits", views[0].logits(slice(None), size)[None], 2e-4)
        same_labels(result(views, size), data[f"{key}/label/argmax"], data[f"{key}/label/margin_f16"], 1e-3)
    views, name = predict_views(model, image, None), "whole/rescaled_100x123"
    same_labels(result(views, (100, 123)), data[f"{name}/argmax"], data[f"{name}/margin_f16"], 1e-3)


@pytest.mark.full
def test_upernet_from_a_picture_at_three_scales_and_mirrored(shared: Path) -> None:
    """The whole way from bytes to averaged probabilities, through the predictor."""
    from internimage.description import ModelDescription
    from internimage.inference.predictor import Predictor
    from internimage.settings.views import TestTimeAugmentation

    data = np.load(shared / "goldens/segmentation/upernet_t_tta.npz")
    model = upernet()
    model.description = ModelDescription("upernet", preprocessing=FitPreprocessing(96, 160, multiple=32))
    views = TestTimeAugmentation((72, 96, 120), flip=True)
    found = Predictor(model, augmentation=views, keep_scores=True)(
        np.ascontiguousarray(data["image_bgr_u8"][..., ::-1])
    )
    sampled(data, "avg/prob", torch.from_numpy(found.scores)[None], 1e-5)
    same_labels(found, data["avg/label/argmax"], data["avg/label/margin_f16"], 1e-5)


@pytest.mark.full
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_upernet_learns_what_the_reference_learns(shared: Path, mode: str) -> None:
    """Both losses, gradients, and running means after a step."""
    data = np.load(shared / "goldens/segmentation/upernet_t_loss.npz")
    expected = json.loads(str(data["meta_json"]))[mode]
    config = replace(get_recipe("upernet_internimage_t_512_160k_ade20k").config, dropout=0.0)
    model = filled(config).train(mode == "train")
    truth = fill.make_label((2, 64, 96), 150)
    losses = model.losses(fill.make_input((2, 3, 64, 96)), torch.where(truth == 255, UNKNOWN, truth))
    assert losses["pixels"].item() == pytest.approx(expected["decode.loss_ce"][0], rel=1e-5)
    assert losses["auxiliary"].item() == pytest.approx(expected["aux.loss_ce"][0], rel=1e-5)
    torch.stack(list(losses.values())).sum().backward()
    names = from_ours(model.state_dict(), "official", config)
    keys, values = (data[f"{mode}/grad_norm_{part}"].tolist() for part in ("keys", "values"))
    norms = dict(zip(keys, values, strict=True))
    for name, parameter in model.named_parameters():
        assert parameter.grad.norm().item() == pytest.approx(norms[names[name]], rel=2e-3, abs=1e-5), name
    if mode == "train":
        state = {names[ours]: tensor for ours, tensor in model.state_dict().items()}
        for key in (name for name in data.files if name.startswith("train/after/")):
            near(state[key.removeprefix("train/after/")], torch.from_numpy(data[key]), 1e-5, 1e-4)


@pytest.mark.full
def test_segformer_equals_the_reference(shared: Path) -> None:
    data = np.load(shared / "goldens/segmentation/segformer_l_cityscapes.npz")
    model: SegFormer = filled(get_recipe("segformer_internimage_l_512x1024_160k_mapillary2cityscapes").config)
    image = fill.make_input((1, 3, 128, 160))
    with torch.no_grad():
        sampled(data, "head_logits", model(image, coarse=True), 1e-3)
        sampled(data, "logits", model(image), 1e-3)
    same_labels(
        result(predict_views(model, image, None), (128, 160)), data["label/argmax"], data["label/margin_f16"], 1e-3
    )


@pytest.mark.full
@pytest.mark.parametrize("name", ["reduced", "h_ade20k"])
def test_mask2former_layer_by_layer(shared: Path, name: str) -> None:
    """The largest model of all too; where a logit of its attention masks is as small as rounding, later layers jump."""
    data = np.load(shared / f"goldens/segmentation/mask2former_{name}.npz")
    large = name != "reduced"
    model = filled(get_recipe("mask2former_internimage_h_896_80k_cocostuff2ade20k").config) if large else reduced()
    image = fill.make_input((1, 3, 128, 160), 0 if large else 2)
    with torch.no_grad():
        maps = model.backbone(image)
        for level, one in enumerate(maps):
            if f"backbone_feat{level}/values" in data:
                sampled(data, f"backbone_feat{level}", one, 2e-4)
        fine, memories = model.pixel_decoder(maps)
        sampled(data, "pixel_decoder/mask_feature", fine, 2e-4)
        for level, one in enumerate(memories):
            sampled(data, f"pixel_decoder/multi_scale{level}", one, 2e-4)
        layers = model.predict_masks(maps)
        for number, layer in enumerate(layers):
            scale = 1e-4 * np.abs(data[f"layer{number}/mask_logits/values"]).max()
            sampled(data, f"layer{number}/mask_logits", layer.masks, max(2e-4, scale if large else 0))
            if not large:
                near(layer.logits, torch.from_numpy(data[f"layer{number}/cls_logits"]), 5e-5)
        scores = class_scores(layers[-1])
        sampled(data, "semantic_lowres", scores, 1e-3 if large else 5e-5)
        soft = nn.functional.interpolate(scores, (128, 160), mode="bilinear").softmax(1)
        sampled(data, "inference_softmax_of_scores", soft, 1e-4)
    same = result(predict_views(model, image, None), (128, 160))
    clear = data["label/margin_f16"].astype(np.float32) > 1e-3
    assert (same.label_map == data["label/argmax"])[clear].all()
    if not large:
        views = predict_views(model, image, Window((96, 96), (64, 64)))
        sampled(data, "slide/scores", views[0].logits(slice(None), (128, 160))[None], 2e-4)
        both = result(
            [*predict_views(model, image, None), *predict_views(model, image, None, mirrored=True)], (128, 160)
        )
        sampled(data, "fliptta/prob", torch.from_numpy(both.scores)[None], 1e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_exported_pooling_is_that_of_pytorch(side: int) -> None:
    """Of any size, larger and smaller than the grid and than the example."""

    class Pool(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return average_to_grid(maps, side)

    anything = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Pool(), (torch.zeros(1, 2, 7, 10),), dynamic_shapes=(anything,))
    for size in ((7, 10), (4, 5), (6, 6), (16, 13)):
        maps = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
        expected = nn.functional.adaptive_avg_pool2d(maps.double(), side)
        torch.testing.assert_close(program.module()(maps).double(), expected, atol=1e-6, rtol=0)
