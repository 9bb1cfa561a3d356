"""Deterministic weights, inputs, labels and "random" points of segmenters from names alone; see ``fill``.

The name hashed is the full key of the released layout, "backbone." and "decode_head." included.
"""

import math

import numpy as np
import torch

from helpers import fill
from helpers.fill import uniform


def affine(name, shape):
    """(centre, half-width) of the uniform law for state_dict key ``name``."""
    leaf, fan_in = name.rsplit(".", 1)[-1], int(np.prod(shape[1:], dtype=np.int64)) if len(shape) > 1 else 1
    if name.endswith("sampling_offsets.bias"):  # MSDeformAttn: about +-2 cells
        return 0.0, 2.0
    if name.endswith(("query_embed.weight", "query_feat.weight", "level_embed.weight", "level_encoding.weight")):
        return 0.0, math.sqrt(3.0)  # unit variance embeddings
    if name.endswith("attn.out_proj.weight"):  # attention as a perturbation: queries must not collapse
        return 0.0, 0.1 * math.sqrt(3.0 / fan_in)
    if name.endswith("attn.in_proj_weight"):  # sharper attention
        return 0.0, 1.6 * math.sqrt(3.0 / fan_in)
    if ".transformer_decoder.layers." in name and len(shape) == 1 and leaf != "weight":
        return 0.0, 0.05  # small shared offsets, same reason
    if ".transformer_decoder.layers." in name and name.endswith("ffns.0.layers.1.weight"):
        return 0.0, 0.4 * math.sqrt(3.0 / fan_in)
    if name.endswith("cls_embed.weight"):
        return 0.0, 3.0 * math.sqrt(3.0 / fan_in)  # decisive class logits
    if name.endswith("mask_embed.4.weight"):
        return 0.0, 32.0 * math.sqrt(3.0) / fan_in  # mask logits of a few units at any width
    if name.endswith("mask_embed.4.bias"):  # with the next rule: mean mask logit about -6
        return 2.5 / math.sqrt(shape[0]), 0.1
    if name.endswith("pixel_decoder.mask_feature.bias"):
        return -2.5 / math.sqrt(shape[0]), 0.1
    if name.endswith("conv_seg.weight"):
        return 0.0, 12.0 * math.sqrt(3.0 / fan_in)
    if name.endswith(".bn.bias"):  # sparse ReLU outputs: the label map stays diverse
        return -0.5, 0.2
    return fill.affine(name, shape)


def paired(name, shape):
    """True for the head convolutions that read ReLU outputs (a common positive mean must not pick the class)."""
    if name.endswith(("mask_embed.2.weight", "mask_embed.4.weight", "pixel_decoder.mask_feature.weight")):
        return shape[1] % 2 == 0
    if ".transformer_decoder.layers." in name and name.endswith("ffns.0.layers.1.weight"):
        return shape[1] % 2 == 0
    return (
        len(shape) == 4
        and shape[1] % 2 == 0
        and name.startswith(("decode_head.", "auxiliary_head."))
        and (
            name.endswith(("conv_seg.weight", "bottleneck.conv.weight", "fusion_conv.conv.weight"))
            or ".fpn_convs." in name
        )
    )


def tensor_for(name, shape, seed=0):
    if ".dcn.offset_mask." in name:
        return fill.tensor_for(name, shape, seed)
    centre, half = affine(name, tuple(shape))
    u = uniform(name, tuple(shape), seed)
    u *= np.float32(half)
    if centre:
        u += np.float32(centre)
    if paired(name, shape):  # input channels 2i and 2i+1 get opposite weights: exact zero row sums
        u[:, 1::2] = -u[:, 0::2]
    return torch.from_numpy(u)


def make_input(shape, seed=0, name="input"):
    """Sum of nearest-upsampled noise at cell sizes 1, 4, 16, 48 px: float32, about unit variance."""
    n, c, h, w = shape
    tag = f"{name}:{'x'.join(map(str, shape))}"
    out = np.zeros(shape, np.float32)
    for s, a in ((1, 0.5), (4, 0.7), (16, 0.9), (48, 1.2)):
        hh, ww = -(-h // s), -(-w // s)
        u = uniform(f"{tag}:{s}", (n, c, hh, ww), seed)
        out += np.float32(a) * np.repeat(np.repeat(u, s, 2), s, 3)[:, :, :h, :w]
    return torch.from_numpy(out)


def make_label(shape, num_classes, seed=0, name="label", cell=12, ignore=255, ignore_share=0.15):
    """int64 (n, h, w): piecewise constant cells of random classes, `ignore_share` of the cells are `ignore`."""
    n, h, w = shape
    hh, ww = -(-h // cell), -(-w // cell)
    tag = f"{name}:{'x'.join(map(str, shape))}:{num_classes}"
    u = (uniform(tag, (n, hh, ww), seed).astype(np.float64) + 1) / 2
    k = np.minimum((u * num_classes).astype(np.int64), num_classes - 1)
    v = (uniform(tag + ":ign", (n, hh, ww), seed).astype(np.float64) + 1) / 2
    k[v < ignore_share] = ignore
    return torch.from_numpy(np.repeat(np.repeat(k, cell, 1), cell, 2)[:, :h, :w].copy())


def make_points(call_index, shape, seed=0, name="points"):
    """float32 U[0, 1): stands for the `call_index`-th (from 0) torch.rand(shape) of one loss evaluation."""
    return torch.from_numpy((uniform(f"{name}:{call_index}", tuple(shape), seed) + np.float32(1)) * np.float32(0.5))


def make_image_u8(h, w, seed=0, name="image"):
    """uint8 (h, w, 3): the make_input picture mapped to 0..255 (channel order is whatever the reader says)."""
    x = make_input((1, 3, h, w), seed, name)[0].numpy().transpose(1, 2, 0)
    return np.clip(np.rint(x * 55.0 + 118.0), 0, 255).astype(np.uint8)
