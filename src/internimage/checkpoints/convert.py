"""Writing checkpoints in the layouts of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from internimage.checkpoints.folder import WEIGHTS_FILE, write_folder, write_safetensors
from internimage.checkpoints.layouts import Layout, from_ours, names_of
from internimage.description import ModelDescription
from internimage.errors import CheckpointWriteError, ConfigError
from internimage.models.classifier import ClassifierConfig
from internimage.writing import json_text, written_aside

# The repository whose modelling code transformers is to fetch; it is the same in all published ones.
_HF_CODE = "OpenGVLab/internimage_t_1k_224"
_HF_CLASS = "InternImageModelForImageClassification"


def write_layout(
    target: Path,
    layout: Layout,
    tensors: Mapping[str, Tensor],
    config: Any,
    description: ModelDescription,
) -> Path:
    """Write tensors, given by our names, to ``target`` in ``layout``; return the path written.

    "official" is a ``.pth`` file, ``{"model": state_dict}`` for classifiers and ``{"meta": {"CLASSES": names},
    "state_dict": state_dict}`` for detectors; "hf" (classifiers with DCNv3 alone) a folder with ``model.safetensors``,
    ``config.json`` and ``preprocessor_config.json``; "ours" a model folder.
    """
    if layout == "official" and target.suffix != ".pth":
        raise ConfigError(f"the official layout is one .pth file; {target} does not end in .pth")
    if layout != "official" and target.suffix:
        raise ConfigError(f"the {layout} layout is a folder; {target} looks like a file")
    if layout == "ours":
        return write_folder(target, tensors, description)
    names_there, backbone = names_of(config), config.backbone
    if (
        backbone.family == "InternImage" and not backbone.mask_softmax
    ):  # every reader of those files would apply the softmax
        raise ConfigError(f"the {layout} layout cannot say that a model's masks have no softmax; write the layout ours")
    names = from_ours(tensors, layout, config)
    renamed = {names[name]: tensor for name, tensor in tensors.items()}
    if layout == "official":
        with written_aside(target, CheckpointWriteError) as aside, aside.open("wb") as file:
            state = {name: tensor.clone() for name, tensor in renamed.items()}
            state |= {other: state[name] for name, other in names_there.copies.items()}
            classes = {"meta": {"CLASSES": description.labels}} if names_there.key == "state_dict" else {}
            torch.save({**classes, names_there.key: state}, file)
        return target
    if not names_there.hugging_face or backbone.family != "InternImage":
        raise ConfigError("the hf layout is for classifiers with DCNv3; write the layout official or ours")
    with (
        written_aside(target / WEIGHTS_FILE, CheckpointWriteError) as weights,
        written_aside(target / "config.json", CheckpointWriteError) as config_file,
        written_aside(target / "preprocessor_config.json", CheckpointWriteError) as preprocessor_file,
    ):
        write_safetensors(weights, renamed)
        _write_json(config_file, _hf_config(config, description))
        _write_json(preprocessor_file, _hf_preprocessor(description))
    return target


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _hf_config(config: ClassifierConfig, description: ModelDescription) -> dict[str, Any]:
    """``config.json`` with the fields of the published ``InternImageConfig`` of transformers."""
    backbone = config.backbone
    content: dict[str, Any] = {
        "model_type": "internimage",
        "architectures": [_HF_CLASS],
        "auto_map": {
            "AutoConfig": f"{_HF_CODE}--configuration_internimage.InternImageConfig",
            "AutoModel": f"{_HF_CODE}--modeling_internimage.InternImageModel",
            "AutoModelForImageClassification": f"{_HF_CODE}--modeling_internimage.{_HF_CLASS}",
        },
        "core_op": "DCNv3",
        "channels": backbone.channels,
        "depths": list(backbone.depths),
        "groups": list(backbone.groups),
        "num_classes": config.num_classes,
        "mlp_ratio": backbone.mlp_ratio,
        "drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "drop_path_type": "linear",
        "act_layer": {"gelu": "GELU", "silu": "SiLU", "relu": "ReLU"}[backbone.activation],
        "norm_layer": {"layer": "LN", "batch": "BN"}[backbone.norm_layer],
        "layer_scale": backbone.layer_scale,
        "offset_scale": backbone.offset_scale,
        "post_norm": backbone.post_norm,
        "cls_scale": config.head_expansion,
        "with_cp": False,
        "dw_kernel_size": None if backbone.depthwise_kernel_size == 3 else backbone.depthwise_kernel_size,
        "use_clip_projector": config.head == "attention_pool",
        "level2_post_norm": bool(backbone.post_norm_blocks),
        "level2_post_norm_block_ids": list(backbone.post_norm_blocks) or None,
        "res_post_norm": backbone.res_post_norm,
        "center_feature_scale": backbone.center_feature_scale,
        "remove_center": backbone.remove_center,
        "torch_dtype": "float32",
    }
    if description.labels is not None:
        content["id2label"] = {str(index): label for index, label in enumerate(description.labels)}
        content["label2id"] = {label: index for index, label in enumerate(description.labels)}
    return content


def _hf_preprocessor(description: ModelDescription) -> dict[str, Any]:
    preprocessing: Any = description.preprocessing
    if preprocessing is None:
        return {}
    return {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "do_resize": True,
        "size": preprocessing.resize,
        "resample": {"bicubic": 3, "bilinear": 2}[preprocessing.interpolation],
        "do_center_crop": preprocessing.crop is not None,
        "crop_size": preprocessing.crop,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
