"""InternImage through timm: what its own tests of models check, and our numbers."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import load_checkpoint
from timm.optim import param_groups_layer_decay
from torch import nn

import internimage as ii
import internimage.integrations.timm as ours
from internimage.errors import ConfigError
from internimage.models.classifier import AttentionPoolHead
from internimage.recipes import get_recipe, list_models

NAMES = ["internimage_atto", "internimage_t_1k_224"]
TRAINED = "internimage_atto_clothing_128"


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, **options).eval()


def attending(**options: Any) -> ours.TimmClassifier:
    """A small one with the head of InternImage-H, metadata and all."""
    torch.manual_seed(0)
    config = get_recipe("internimage_atto").config
    return ours.TimmClassifier(
        replace(config, head="attention_pool", metadata_channels=8, num_classes=5), **options
    ).eval()


def test_every_classifier_is_registered() -> None:
    names = {name for name in list_models() if get_recipe(name).task == "classification"}
    assert names == {name for name in timm.list_models() if name in names}
    assert {name for name in names if get_recipe(name).weights} == {
        name for name in timm.list_models(pretrained=True) if name in names
    }
    for name in names:
        recipe, known = get_recipe(name), timm.get_pretrained_cfg(name)
        assert known.num_classes == recipe.config.num_classes
        seen = timm.data.resolve_data_config(known.to_dict())
        assert (seen["input_size"][1], seen["mean"], seen["crop_pct"]) == (
            recipe.preprocessing.side,
            recipe.preprocessing.mean,
            recipe.preprocessing.side / recipe.preprocessing.resize,
        )


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_surgery(name: str) -> None:
    model, x = small(name, num_classes=42, in_chans=4), torch.randn(2, 4, 96, 64)
    state, config = model.state_dict(), model.pretrained_cfg
    assert {f"{config['classifier']}.weight", f"{config['first_conv']}.weight"} <= set(state)
    plain = ii.create_model(name, num_classes=42, in_channels=4)
    plain.load_state_dict(state)
    with torch.no_grad():
        features = model.forward_features(x)
        assert features.shape == (2, model.num_features, 3, 2)
        assert torch.equal(model(x), plain(x))
        assert torch.equal(model.forward_head(features), model(x))
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (2, model.head_hidden_size)
        assert torch.equal(model.get_classifier()(pooled), model(x))
        model.reset_classifier(0)
        assert torch.equal(model(x), pooled)
        model.reset_classifier(0, "")
        assert torch.equal(model(x), features)
        model.reset_classifier(3, "avg")
        assert model(x).shape == (2, 3)
    assert model.num_classes == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_backward_reaches_all(name: str, checkpointing: bool) -> None:
    model = small(name, num_classes=4, drop_rate=0.1, drop_path_rate=0.1).train()
    model.set_grad_checkpointing(checkpointing)
    assert model.backbone.stages[-1].blocks[-1].drop_path.rate == pytest.approx(0.1)
    model(torch.randn(2, 3, 64, 64)).mean().backward()
    assert not [key for key, one in model.named_parameters() if one.grad is None]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (0, 2), (1, -1), 1])
def test_intermediates(name: str, indices: Any) -> None:
    """Also of a model that was cut to them, and through ``features_only``."""
    model, x = small(name, num_classes=4), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = ii.create_model(name, num_classes=4)
        expected.load_state_dict(model.state_dict())
        maps = expected.backbone(x)
        last, found = model.forward_intermediates(x, indices)
        wanted = [maps[one] for one in ([3] if indices == 1 else indices)]
        assert torch.equal(last, model.forward_features(x))
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        turned = model.forward_intermediates(x, indices, output_fmt="NHWC", stop_early=True, intermediates_only=True)
        assert all(torch.equal(a.permute(0, 3, 1, 2), b) for a, b in zip(turned, wanted, strict=True))
        kept = model.prune_intermediate_layers(indices)
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.forward_intermediates(x, kept, intermediates_only=True), wanted, strict=True)
        )
        alone = small(name, features_only=True, out_indices=kept)
        shapes = [tuple(one.shape[1:]) for one in alone(x)]
    assert [shape[0] for shape in shapes] == alone.feature_info.channels()
    assert [64 // shape[1] for shape in shapes] == alone.feature_info.reduction()
    assert sum(p.numel() for p in alone.parameters()) == sum(p.numel() for p in model.parameters())


def test_layers_decay_block_by_block() -> None:
    model = small("internimage_atto")
    scales = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in param_groups_layer_decay(model, layer_decay=0.5):
        for parameter in group["params"]:
            scales[names[id(parameter)]] = group["lr_scale"]
    depths, blocks = model.config.backbone.depths, []
    for stage, depth in enumerate(depths):
        blocks += [scales[f"backbone.stages.{stage}.blocks.{block}.dcn.offset.weight"] for block in range(depth)]
    assert scales["classifier.weight"] == scales["head.conv.weight"] == 1
    assert scales["backbone.stem.conv1.weight"] < blocks[0]
    assert blocks == sorted(set(blocks))
    assert scales["backbone.stages.0.downsample.conv.weight"] == blocks[depths[0] - 1]


def test_weights_come_and_go(tmp_path: Path) -> None:
    """Pretrained, from a folder of ours, with other classes and channels; and back from timm's checkpoint."""
    x, released = torch.randn(1, 3, 128, 128), ii.create_model(TRAINED, pretrained=True)
    with torch.no_grad():
        model = small(TRAINED, pretrained=True)
        assert torch.equal(model(x), released(x))
        with pytest.warns(UserWarning, match="10 classes, the model 3: the classifier starts anew"):
            gray = small(TRAINED, pretrained=True, in_chans=1, num_classes=3)
        weight = released.backbone.stem.conv1.weight
        assert torch.equal(gray.backbone.stem.conv1.weight, weight.sum(1, keepdim=True))
        assert torch.equal(gray.head.conv.weight, released.head.conv.weight)
        maps = small(TRAINED, pretrained=True, features_only=True)(x)
        assert torch.equal(maps[-1], released.backbone(x)[-1])
        folder = ii.save_model(ours.as_classifier(gray), tmp_path / "gray", labels=["a", "b", "c"])
        again = ii.load_model(folder)
        assert torch.equal(again(x[:, :1]), gray(x[:, :1]))
        assert len(ii.Predictor(folder, device="cpu")([np.zeros((90, 70, 1), np.uint8)])[0].top(3)) == 3
        torch.save({"state_dict": gray.state_dict(), "epoch": 3}, tmp_path / "last.pth.tar")
        other = small(TRAINED, in_chans=1, num_classes=3)
        load_checkpoint(other, str(tmp_path / "last.pth.tar"))
        assert torch.equal(other(x[:, :1]), gray(x[:, :1]))
        read = ii.create_model(TRAINED, checkpoint=tmp_path / "last.pth.tar", num_classes=3, in_channels=1)
        assert torch.equal(read(x[:, :1]), gray(x[:, :1]))


@torch.no_grad()
def test_attention_pool_and_metadata() -> None:
    model, x = attending(), torch.randn(2, 3, 64, 64)
    assert isinstance(model.head, AttentionPoolHead)
    plain = ours.as_classifier(model)
    assert torch.equal(model(x), plain(x))
    assert model.forward_features(x).shape == (2, model.num_features, 4, 4)
    assert {key: one.shape for key, one in model.vectors(x).items()} == {"pooled": (2, 768), "logits": (2, 5)}


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda: timm.create_model("internimage_atto", global_pool="max"), "expected avg"),
        (lambda: timm.create_model("internimage_atto", global_pool=""), "expected num_classes=0"),
        (lambda: small("internimage_atto").forward_intermediates(torch.zeros(1, 3, 32, 32), (4,)), "from 0 to 3"),
        (lambda: small("internimage_atto").forward_intermediates(torch.zeros(1, 3, 32, 32), output_fmt="NLC"), "NHWC"),
        (lambda: ours.as_classifier(nn.Linear(2, 2)), "expected a whole model"),
        (lambda: ours.as_classifier(small("internimage_atto", features_only=True).model), "expected a whole model"),
    ],
)
def test_what_cannot_be(run: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run()


def test_without_timm_one_sentence() -> None:
    code = "import sys; sys.modules['timm'] = None; import internimage.integrations.timm"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stderr.strip().endswith('this registers models in timm: pip install "internimage[timm]"')
