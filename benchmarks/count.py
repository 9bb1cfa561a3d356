"""Parameters and multiply-additions of the models, written into src/internimage/recipes/counted.json.

    python benchmarks/count.py                                 # all models: some minutes
    python benchmarks/count.py internimage_t_1k_224 NAME ...   # these; the others keep their numbers

Multiply-additions are half of the operations that PyTorch's counter finds in products and convolutions, and those of
the operators that sample; norms, activations and the like are not counted.  One image: of a classifier as it is
evaluated; of a detector 800x1280 pixels, with 1,000 RoIs and 100 masks; of a segmenter the crop that it was trained on,
320x320 where there is none; of a BEVFormer a frame of six cameras, with a history; of other networks on frames backbone
and pyramid of one frame's cameras alone; of a model of pictures and words the features of a picture.  But for that,
nothing is computed: the models are on the meta device and have no weights.

A written number that is right to 1 in 1,000 stays as it is, so that the file changes where a model does.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision  # noqa: F401  (defines its deformable convolution)
from torch.utils.flop_counter import FlopCounterMode

import internimage.recipes
from internimage.layers.rcnn.roi_heads import BoxHead, MaskHead
from internimage.recipes import Recipe, get_recipe, list_models
from internimage.registry import ARCHITECTURES, resolve

FILE = Path(internimage.recipes.__file__).with_name("counted.json")
DETECTION_SIZE = (800, 1280)
ROIS, MASKS = 1000, 100
CROP = (320, 320)


def dcnv3_operations(input: Any, offset: Any, mask: Any, *geometry: Any, **_: Any) -> int:
    """Two for each multiply-addition: an output channel takes four pixels for each point of its group."""
    groups = geometry[8]
    return int(2 * 4 * math.prod(mask[:3]) * (mask[3] // groups) * input[3])


def dcnv4_operations(input: Any, packed: Any, *geometry: Any, **_: Any) -> int:
    """The same, where the kernel's size tells the points."""
    points = geometry[0] * geometry[1] - int(geometry[10])
    return int(2 * 4 * math.prod(packed[:3]) * points * input[3])


def attention_operations(value: Any, location: Any, *_: Any, **__: Any) -> int:
    """A head blends four pixels of its channels and adds the result, for each point of each query."""
    return int(2 * 5 * math.prod(location[:-1]) * value[-1])


def deformable_operations(input: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """A product for each output channel, and four pixels for each point and input channel."""
    pixels = math.prod(out_shape) // weight[0]
    return int(2 * pixels * math.prod(weight[1:]) * (weight[0] + 4))


def show_frame(model: Any, recipe: Recipe) -> None:
    """A frame of nuScenes' six cameras with a history: maps on the meta device, the rest, which depends on what the
    cameras see, in numbers."""
    from driving import frame

    preprocessing: Any = recipe.preprocessing
    with torch.device("cpu"):
        views = frame((preprocessing.short, preprocessing.long), len(recipe.config.cameras), continued=True)
        real = type(model)(recipe.config).eval().requires_grad_(False)
    maps = model.maps(views.images.flatten(0, 1).to("meta"))
    with torch.device("cpu"):
        history = torch.zeros(1, recipe.config.grid.cells, recipe.config.channels)
        bev = real.encoder([torch.zeros(one.shape) for one in maps], views, history)
        real.decoder(bev, last=True)


def show(model: Any, recipe: Recipe) -> None:
    """Let a model on the meta device predict one image."""
    if recipe.architecture == "bevformer":
        show_frame(model, recipe)
        return
    if recipe.task in ("boxes3d", "occupancy", "topology", "online_map"):
        fit: Any = recipe.preprocessing
        sides = (-(-side // recipe.config.stride) * recipe.config.stride for side in (fit.short, fit.long))
        model.maps(torch.empty(len(recipe.config.cameras), 3, *sides))
        return
    if recipe.architecture.startswith("uniperceiver"):  # two experts are mixed into one layer, as dear as a plain one
        plain: Any = recipe.preprocessing
        side = recipe.config.side if recipe.architecture == "uniperceiver_v2" else plain.crop
        network = type(model)(replace(recipe.config, experts=0)).eval().requires_grad_(False)
        network.encode_pictures(torch.empty(1, 3, side, side))
        return
    if recipe.task == "segmentation":
        crop = recipe.training.augmentation.crop if recipe.training else CROP
        model(torch.empty(1, 3, *crop), coarse=True)
    elif recipe.task in ("classification", "pretraining"):
        preprocessing: Any = recipe.preprocessing
        model(torch.empty(1, 3, preprocessing.crop, preprocessing.crop))
    elif recipe.architecture in ("dino", "mask_dino"):
        model(torch.empty(1, 3, *DETECTION_SIZE), [DETECTION_SIZE], torch.ones(1, 4))
    else:  # how many objects are found depends on the weights, so the heads are shown as many as are counted
        model.rpn(model.neck(model.backbone(torch.empty(1, 3, *DETECTION_SIZE))))
        for head in model.modules():
            if isinstance(head, BoxHead | MaskHead):
                count = ROIS if isinstance(head, BoxHead) else MASKS
                head(torch.empty(count, recipe.config.channels, head.size, head.size))


@torch.no_grad()
def count(recipe: Recipe) -> tuple[int, float]:
    """Parameters, and billions of multiply-additions for one image."""
    kind = resolve(ARCHITECTURES[recipe.architecture].model)
    ops = torch.ops.internimage
    sampling = {ops.dcnv3: dcnv3_operations, ops.dcnv4: dcnv4_operations, ops.ms_deform_attn: attention_operations}
    sampling |= {torch.ops.torchvision.deform_conv2d: deformable_operations}
    with torch.device("meta"), FlopCounterMode(display=False, custom_mapping=sampling) as counter:
        model = kind(recipe.config).eval().requires_grad_(False)
        show(model, recipe)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2e9


def write(counted: dict[str, dict[str, float]]) -> None:
    """A line for each model, in their order."""
    rows = [f"  {json.dumps(name)}: {json.dumps(counted[name])}" for name in list_models() if name in counted]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to count; all if there are none")
    names = parser.parse_args().names or list_models()
    counted = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for number, name in enumerate(names, start=1):
        parameters, gmacs = count(get_recipe(name))
        written = counted.get(name, {}).get("gmacs", 0.0)
        kept = written if math.isclose(written, gmacs, rel_tol=1e-3) else float(f"{gmacs:.4g}")
        row = {"parameters": parameters, "gmacs": kept}
        change = "as written" if row == counted.get(name) else f"instead of {counted.get(name)}"
        print(f"{number}/{len(names)} {name}: {parameters:,} parameters, {gmacs:.6g} GMACs, {change}", flush=True)
        counted[name] = row
        write(counted)


if __name__ == "__main__":
    main()
