"""Names of a Uni-Perceiver's tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from internimage.checkpoints.names.table import Names, Rows, within
from internimage.multimodal.models.config import UniPerceiverConfig

_LAYER = (
    ("norm#.*", "norm#.*"),
    ("scale#", "gamma_#"),
)

_DENSE = (
    ("qkv.*", "self_attn.in_proj_*"),
    ("output.*", "self_attn.out_proj.*"),
    ("linear#.*", "linear#.*"),
)

_LINEAR = (
    ("gate.embed.*", "gate.tag_transform.0.*"),
    ("gate.norm.*", "gate.tag_transform.1.*"),
    ("gate.score.*", "gate.wg.*"),
    ("experts.#.*", "experts.deepspeed_experts.#.*"),
    ("*", "*"),
)

_CONDITIONAL = (
    *within("qkv.", "self_attn.qkv_proj.", _LINEAR),
    *within("output.", "self_attn.dense.", _LINEAR),
    *within("linear#.", "linear#.", _LINEAR),
)

_REST = (
    ("norm.*", "token_embed.embeddings_norm.*"),
    ("text.words.*", "token_embed.embeddings.*"),
    ("text.positions.*", "token_embed.embeddings_pos.position_embeddings.*"),
    ("text.types.*", "token_embed.embeddings_token_type.*"),
    ("pictures.released_type", "video_embed.embeddings_type.weight"),
    ("pictures.positions", "video_embed.embeddings_st_pos.spatial_pos_embed.weight"),
    ("pictures.times.*", "video_embed.embeddings_st_pos.temporal_pos_embed.*"),
    ("norm.*", "video_embed.embeddings_norm.*"),  # the same tensors under a second name
    ("backbone.projection.*", "video_embed.embeddings.*"),
    ("likelihood.norm.*", "loss_prepare.ln_post.*"),
    ("likelihood.project.*", "loss_prepare.proj.*"),
    ("likelihood.scales.*", "loss_prepare.logit_scale_*"),
)

COPIES = {f"token_embed.embeddings_norm.{name}": f"video_embed.embeddings_norm.{name}" for name in ("weight", "bias")}
"""Tensors that released files hold twice: the name that is read, and the other one."""


def _rows(config: UniPerceiverConfig) -> Rows:
    layer = (*_LAYER, *(_CONDITIONAL if config.experts else _DENSE))
    return (*within("encoder.layers.#.", "fused_encoder.layers.#.", layer), *_REST)


_RENAMED = (
    (r"^encoder\.", "fused_encoder."),
    (r"^predictor\.", "loss_prepare."),
    (r"attention\.self\.qkv_proj\.", "self_attn.qkv_proj."),
    (r"attention\.output\.dense\.", "self_attn.dense."),
    (r"ffn\.dense\.", "linear1."),
    (r"ffn\.dense2\.", "linear2."),
    (r"attention_output\.residual_scale$", "gamma_1"),
    (r"ffn_output\.residual_scale$", "gamma_2"),
    (r"LayerNormModules\.0\.", "norm1."),
    (r"LayerNormModules\.1\.", "norm2."),
    (r"deepspeed_moe\.(gate|experts)", r"\1"),
)
_RENAMED_DENSE = (
    (r"self_attn\.qkv_proj\.", "self_attn.in_proj_"),
    (r"self_attn\.dense\.", "self_attn.out_proj."),
)
_TYPE, _BIAS = "video_embed.embeddings_type.weight", "video_embed.embeddings.bias"


def from_deepspeed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file as DeepSpeed wrote it in training, as the released converted files have them.

    Float32; scales are vectors; the type of pictures, which training added to every patch, is part of the bias.

    Args:
        tensors: what such a file keeps under "module".
    """
    rules = _RENAMED if any("deepspeed_moe" in name for name in tensors) else (*_RENAMED, *_RENAMED_DENSE)
    results = {}
    for name, tensor in tensors.items():
        if name.startswith("visual_embed."):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        results[name] = tensor.flatten() if name.endswith(("gamma_1", "gamma_2")) else tensor
    if _TYPE in results and _BIAS in results:
        results[_BIAS] = results[_BIAS] + results[_TYPE][0]
    return results


NAMES = Names(_rows, key="model", copies=COPIES, as_trained=("predictor.", from_deepspeed))
