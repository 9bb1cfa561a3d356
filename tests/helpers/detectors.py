"""Small detectors, and the released ones with the goldens' weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import internimage as ii
from helpers.fill import tensor_for
from helpers.goldens import law_of_weights
from internimage.backbones.composite import CompositeConfig
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.layouts import to_ours
from internimage.models.cascade_rcnn import CascadeRCNN, CascadeRCNNConfig
from internimage.models.dino import DINOConfig
from internimage.models.mask_dino import MaskDINOConfig
from internimage.models.mask_rcnn import MaskRCNN, MaskRCNNConfig
from internimage.recipes import get_recipe
from internimage.registry import ARCHITECTURES, resolve
from internimage.structures.detection import DetectionTarget, RawDetections

CONFIGURATIONS = "spec/checkpoints/detection"
CB_H = "dino_4scale_cbinternimage_h_objects365_coco"
SMALL = InternImageConfig(channels=16, depths=(1, 1, 1, 1), groups=(1, 2, 4, 8))
SMALL_MASK = MaskRCNNConfig(SMALL, num_classes=3, channels=16, box_width=32, mask_width=16)
SMALL_CASCADE = CascadeRCNNConfig(SMALL, num_classes=3, channels=16, box_width=32, mask_width=16)
SMALL_CROWD = CascadeRCNNConfig(
    SMALL, 1, 16, box_convolutions=0, box_linears=2, box_width=32, box_per_class=False, mask_width=None
)


def same(one: RawDetections, other: RawDetections) -> None:
    assert torch.equal(one.labels, other.labels)
    torch.testing.assert_close(one.boxes, other.boxes, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=1e-5)
    if one.masks is not None:
        torch.testing.assert_close(one.masks, other.masks, atol=1e-4, rtol=1e-4)


def talkative(name: str = "small_mask") -> Any:
    """A detector that finds things in noise."""
    torch.manual_seed(0)
    model: Any = ii.create_model(name)
    for parameter_name, parameter in model.named_parameters():
        if "classifier" in parameter_name or "regressors" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def build(name: str, device: str = "cpu") -> Any:
    recipe = get_recipe(name)
    with torch.device(device):
        return resolve(ARCHITECTURES[recipe.architecture].model)(recipe.config).eval()


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def released(shared: Path, golden: str) -> tuple[Any, Any, dict[str, Any], MaskRCNN | CascadeRCNN]:
    """As :func:`reference`, of a released detector."""
    data = np.load(shared / "goldens" / family(golden) / f"{golden}.npz")
    stem = Path(json.loads(str(data["meta_json"]))["config"]).stem
    return reference(shared, golden, stem, build(stem.replace("intern_image", "internimage")))


def family(name: str) -> str:
    """The folder of a golden or configuration."""
    return "flash" if "_flash_" in name else "detection"


def reference(shared: Path, golden: str, stem: str, model: Any) -> tuple[Any, Any, dict[str, Any], Any]:
    """The law of the reference's weights, its numbers, how they were made, and ``model`` with those weights.

    ``stem`` is that of the configuration with the names of the weights.
    """
    fill = law_of_weights(shared / "goldens" / "fill_detection.py")
    data = np.load(shared / "goldens" / family(golden) / f"{golden}.npz")
    meta = json.loads(str(data["meta_json"]))
    manifest = read(shared / CONFIGURATIONS / ".." / family(golden) / f"{stem}.json")
    state = {k: torch.zeros(v[0], dtype=getattr(torch, v[1])) for k, v in manifest["state_dict"].items()}
    fill.fill_state_dict(state, seed=0)
    state |= {name: tensor_for(name, state[name].shape) for name in state if ".dcn.offset_mask." in name}
    overrides = {
        **read(shared / "goldens" / "fill_detection_overrides.json"),
        **read(shared / "goldens" / "flash" / "fill_overrides.json"),
    }
    fill.apply_overrides(state, overrides[meta.get("overrides", golden)])
    model.load_state_dict({ours: state[name] for name, ours in to_ours(state, "official", model.config).items()})
    return fill, data, meta, model


SMALL_DINO = DINOConfig(
    SMALL, num_classes=3, channels=64, queries=20, encoder_layers=1, decoder_layers=2, width=32, denoising=6
)
SMALL_MASK_DINO = MaskDINOConfig(
    SMALL,
    num_classes=3,
    channels=64,
    queries=20,
    encoder_layers=1,
    decoder_layers=2,
    width=32,
    denoising=6,
    encoder_width=32,
    mask_width=32,
    mask_points=256,
    mask_size=28,
)
SMALL_COMPOSITE = replace(SMALL_DINO, composite=CompositeConfig(), parts=2)
FILES = {
    "dino_4scale_internimage_t_1x_coco_layer_wise_lr": "dino_4scale_internimage_t_1x_coco",
    "dino_4scale_internimage_h_objects365_coco_ss": "dino_4scale_internimage_h_objects365_coco",
    "dino_4scale_internimage_g_objects365_coco_ss": "dino_4scale_internimage_g_objects365_coco",
    "dino_4scale_cbinternimage_h_objects365_coco_ss": CB_H,
    "dino_4scale_cbinternimage_h_objects365_lvis_val_ss": f"{CB_H[:-4]}lvis",
    "dino_4scale_cbinternimage_h_objects365_lvis_minival_ss": f"{CB_H[:-4]}lvis",
    "dino_4scale_cbinternimage_h_objects365_openimages_ss": f"{CB_H[:-4]}openimages",
    "dino_4scale_cbinternimage_h_objects365_voc07": f"{CB_H[:-4]}voc0712",
    "dino_4scale_cbinternimage_h_objects365_voc12": f"{CB_H[:-4]}voc0712",
}


def boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    corner = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corner, corner + 4 + torch.rand(count, 2, generator=generator) * 40], dim=1)


def truth(count: int, size: tuple[int, int], masks: bool = True) -> DetectionTarget:
    where = boxes(count, torch.Generator().manual_seed(count))
    bitmaps = torch.zeros(count, *size, dtype=torch.bool)
    for bitmap, box in zip(bitmaps, where.int().tolist(), strict=True):
        bitmap[box[1] : box[3], box[0] : box[2]] = True
    return DetectionTarget(where, torch.arange(count) % 3, bitmaps if masks else None)


CONFIGS = {
    "small_mask": (SMALL_MASK, "mask_rcnn_internimage_t_fpn_1x_coco"),
    "small_cascade": (SMALL_CASCADE, "cascade_internimage_l_fpn_1x_coco"),
    "small_crowd": (SMALL_CROWD, "cascade_internimage_l_fpn_1x_coco"),
    "small_dino": (SMALL_DINO, "dino_4scale_internimage_t_1x_coco"),
    "small_mask_dino": (SMALL_MASK_DINO, "mask_dino_internimage_t"),
    "small_composite": (SMALL_COMPOSITE, "dino_4scale_internimage_t_1x_coco"),
}
