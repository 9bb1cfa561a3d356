"""Names of the tensors: our own, those of the released ``.pth`` files and those of the Hugging Face models.

One table says it all, and is read in both directions.  ``#`` stands for a number, a trailing ``*`` for the rest of the
name (``weight``, ``bias``, ``running_mean`` ...); ``{norm}`` is the position of a convolution's norm in the
released modules' ``Sequential``, where a LayerNorm comes after a permutation and a BatchNorm does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count
from typing import Literal, TypeAlias

from internimage.backbones.config import InternImageConfig, NormLayer
from internimage.errors import CheckpointMismatchError
from internimage.models.cascade_rcnn import CascadeRCNNConfig
from internimage.models.classifier import ClassifierConfig
from internimage.models.dino import DINOConfig
from internimage.models.mask2former import Mask2FormerConfig
from internimage.models.mask_rcnn import MaskRCNNConfig
from internimage.models.segformer import SegFormerConfig
from internimage.models.upernet import UperNetConfig

Layout = Literal["ours", "official", "hf"]
Config: TypeAlias = (
    ClassifierConfig
    | MaskRCNNConfig
    | CascadeRCNNConfig
    | DINOConfig
    | UperNetConfig
    | SegFormerConfig
    | Mask2FormerConfig
)
ModelConfig: TypeAlias = Config | InternImageConfig

_BACKBONE = (
    # ours, official
    ("stem.conv1.*", "patch_embed.conv1.*"),
    ("stem.norm1.*", "patch_embed.norm1.{norm}.*"),
    ("stem.conv2.*", "patch_embed.conv2.*"),
    ("stem.norm2.*", "patch_embed.norm2.{norm}.*"),
    ("stages.#.blocks.#.norm1.*", "levels.#.blocks.#.norm1.0.*"),
    ("stages.#.blocks.#.norm2.*", "levels.#.blocks.#.norm2.0.*"),
    ("stages.#.blocks.#.res_post_norm1.*", "levels.#.blocks.#.res_post_norm1.0.*"),
    ("stages.#.blocks.#.res_post_norm2.*", "levels.#.blocks.#.res_post_norm2.0.*"),
    ("stages.#.blocks.#.layer_scale1", "levels.#.blocks.#.gamma1"),
    ("stages.#.blocks.#.layer_scale2", "levels.#.blocks.#.gamma2"),
    ("stages.#.blocks.#.dcn.center_scale_weight", "levels.#.blocks.#.dcn.center_feature_scale_proj_weight"),
    ("stages.#.blocks.#.dcn.center_scale_bias", "levels.#.blocks.#.dcn.center_feature_scale_proj_bias"),
    ("stages.#.blocks.#.dcn.depthwise.*", "levels.#.blocks.#.dcn.dw_conv.0.*"),
    ("stages.#.blocks.#.dcn.depthwise_norm.*", "levels.#.blocks.#.dcn.dw_conv.1.{norm}.*"),
    ("stages.#.blocks.#.dcn.offset.*", "levels.#.blocks.#.dcn.offset.*"),
    ("stages.#.blocks.#.dcn.mask.*", "levels.#.blocks.#.dcn.mask.*"),
    ("stages.#.blocks.#.dcn.input_proj.*", "levels.#.blocks.#.dcn.input_proj.*"),
    ("stages.#.blocks.#.dcn.output_proj.*", "levels.#.blocks.#.dcn.output_proj.*"),
    ("stages.#.blocks.#.mlp.*", "levels.#.blocks.#.mlp.*"),
    ("stages.#.norm.*", "levels.#.norm.0.*"),
    ("stages.#.post_norms.#.*", "levels.#.post_norms.#.0.*"),
    ("stages.#.downsample.conv.*", "levels.#.downsample.conv.*"),
    ("stages.#.downsample.norm.*", "levels.#.downsample.norm.{norm}.*"),
)

# what DCNv4 has, some of it instead of rows of the same name
_FLASH = {
    "stages.#.blocks.#.dcn.depthwise.*": "levels.#.blocks.#.dcn.offset_mask_dw.*",
    "stages.#.blocks.#.dcn.offset_mask.*": "levels.#.blocks.#.dcn.offset_mask.*",
    "stages.#.blocks.#.dcn.input_proj.*": "levels.#.blocks.#.dcn.value_proj.*",
}

_CONV_HEAD = (
    ("head.conv.*", "conv_head.0.*"),
    ("head.norm.*", "conv_head.1.0.*"),
    ("classifier.*", "head.*"),
)

_ATTENTION_POOL_HEAD = (
    ("head.coarse.*", "dcnv3_head_x4.0.*"),
    ("head.fine.*", "dcnv3_head_x3.*"),
    ("head.pool.norm_query.*", "clip_projector.norm1_q.0.*"),
    ("head.pool.norm_key.*", "clip_projector.norm1_k.0.*"),
    ("head.pool.norm_value.*", "clip_projector.norm1_v.0.*"),
    ("head.pool.attention.query_bias", "clip_projector.cross_dcn.q_bias"),
    ("head.pool.attention.key_bias", "clip_projector.cross_dcn.k_bias"),
    ("head.pool.attention.value_bias", "clip_projector.cross_dcn.v_bias"),
    ("head.pool.attention.query.*", "clip_projector.cross_dcn.q.*"),
    ("head.pool.attention.key.*", "clip_projector.cross_dcn.k.*"),
    ("head.pool.attention.value.*", "clip_projector.cross_dcn.v.*"),
    ("head.pool.attention.proj.*", "clip_projector.cross_dcn.proj.*"),
    ("head.norm.*", "fc_norm.0.*"),
    ("classifier.*", "head.*"),
)

_METADATA_HEAD = (
    ("metadata_head.temporal.embed.*", "meta_head_1.0.*"),
    ("metadata_head.temporal.norm.*", "meta_head_1.2.*"),
    ("metadata_head.temporal.residual_norm1.*", "meta_head_1.3.norm_fn1.*"),
    ("metadata_head.temporal.residual_norm2.*", "meta_head_1.3.norm_fn2.*"),
    ("metadata_head.temporal.residual_fc1.*", "meta_head_1.3.w1.*"),
    ("metadata_head.temporal.residual_fc2.*", "meta_head_1.3.w2.*"),
    ("metadata_head.spatial.embed.*", "meta_head_2.0.*"),
    ("metadata_head.spatial.norm.*", "meta_head_2.2.*"),
    ("metadata_head.spatial.residual_norm1.*", "meta_head_2.3.norm_fn1.*"),
    ("metadata_head.spatial.residual_norm2.*", "meta_head_2.3.norm_fn2.*"),
    ("metadata_head.spatial.residual_fc1.*", "meta_head_2.3.w1.*"),
    ("metadata_head.spatial.residual_fc2.*", "meta_head_2.3.w2.*"),
    ("metadata_head.norm.*", "meta_norm.*"),
    ("metadata_head.fc.*", "meta_head.*"),
)

_PYRAMID = (
    ("neck.lateral.#.*", "neck.lateral_convs.#.conv.*"),
    ("neck.output.#.*", "neck.fpn_convs.#.conv.*"),
)

_PYRAMID_WITH_NORMS = (
    ("neck.lateral.#.conv.*", "neck.lateral_convs.#.conv.*"),
    ("neck.lateral.#.norm.*", "neck.lateral_convs.#.ln.*"),
    ("neck.output.#.conv.*", "neck.fpn_convs.#.conv.*"),
    ("neck.output.#.norm.*", "neck.fpn_convs.#.ln.*"),
)

_PROPOSALS = (
    ("rpn.conv.*", "rpn_head.rpn_conv.*"),
    ("rpn.objectness.*", "rpn_head.rpn_cls.*"),
    ("rpn.deltas.*", "rpn_head.rpn_reg.*"),
)

_BOX_HEAD = (
    ("convolutions.#.conv.*", "shared_convs.#.conv.*"),
    ("convolutions.#.norm.*", "shared_convs.#.bn.*"),
    ("linears.#.*", "shared_fcs.#.*"),
    ("classifier.*", "fc_cls.*"),
    ("regressor.*", "fc_reg.*"),
)

_MASK_HEAD = (
    ("convolutions.#.*", "convs.#.conv.*"),
    ("upsample.*", "upsample.*"),
    ("logits.*", "conv_logits.*"),
)

_UPERNET = (
    ("decoder.pools.#.conv.*", "decode_head.psp_modules.#.1.conv.*"),
    ("decoder.pools.#.norm.*", "decode_head.psp_modules.#.1.bn.*"),
    ("decoder.bottleneck.conv.*", "decode_head.bottleneck.conv.*"),
    ("decoder.bottleneck.norm.*", "decode_head.bottleneck.bn.*"),
    ("decoder.lateral.#.conv.*", "decode_head.lateral_convs.#.conv.*"),
    ("decoder.lateral.#.norm.*", "decode_head.lateral_convs.#.bn.*"),
    ("decoder.output.#.conv.*", "decode_head.fpn_convs.#.conv.*"),
    ("decoder.output.#.norm.*", "decode_head.fpn_convs.#.bn.*"),
    ("decoder.fusion.conv.*", "decode_head.fpn_bottleneck.conv.*"),
    ("decoder.fusion.norm.*", "decode_head.fpn_bottleneck.bn.*"),
    ("classifier.*", "decode_head.conv_seg.*"),
    ("auxiliary.convolution.conv.*", "auxiliary_head.convs.0.conv.*"),
    ("auxiliary.convolution.norm.*", "auxiliary_head.convs.0.bn.*"),
    ("auxiliary.classifier.*", "auxiliary_head.conv_seg.*"),
)

_SEGFORMER = (
    ("decoder.lateral.#.conv.*", "decode_head.convs.#.conv.*"),
    ("decoder.lateral.#.norm.*", "decode_head.convs.#.bn.*"),
    ("decoder.fusion.conv.*", "decode_head.fusion_conv.conv.*"),
    ("decoder.fusion.norm.*", "decode_head.fusion_conv.bn.*"),
    ("classifier.*", "decode_head.conv_seg.*"),
)

_PIXEL_DECODER = (
    ("projections.#.conv.*", "input_convs.#.conv.*"),
    ("projections.#.norm.*", "input_convs.#.gn.*"),
    ("level_embedding.*", "level_encoding.*"),
    ("layers.#.attention.*", "encoder.layers.#.attentions.0.*"),
    ("layers.#.norm1.*", "encoder.layers.#.norms.0.*"),
    ("layers.#.feed_forward.linear1.*", "encoder.layers.#.ffns.0.layers.0.0.*"),
    ("layers.#.feed_forward.linear2.*", "encoder.layers.#.ffns.0.layers.1.*"),
    ("layers.#.norm2.*", "encoder.layers.#.norms.1.*"),
    ("lateral.conv.*", "lateral_convs.0.conv.*"),
    ("lateral.norm.*", "lateral_convs.0.gn.*"),
    ("output.conv.*", "output_convs.0.conv.*"),
    ("output.norm.*", "output_convs.0.gn.*"),
    ("masks.*", "mask_feature.*"),
)

_QUERIES = (
    ("query_embedding.*", "query_embed.*"),
    ("query_features.*", "query_feat.*"),
    ("level_embedding.*", "level_embed.*"),
    ("layers.#.cross_attention.*", "transformer_decoder.layers.#.attentions.0.attn.*"),
    ("layers.#.norm1.*", "transformer_decoder.layers.#.norms.0.*"),
    ("layers.#.self_attention.*", "transformer_decoder.layers.#.attentions.1.attn.*"),
    ("layers.#.norm2.*", "transformer_decoder.layers.#.norms.1.*"),
    ("layers.#.feed_forward.linear1.*", "transformer_decoder.layers.#.ffns.0.layers.0.0.*"),
    ("layers.#.feed_forward.linear2.*", "transformer_decoder.layers.#.ffns.0.layers.1.*"),
    ("layers.#.norm3.*", "transformer_decoder.layers.#.norms.2.*"),
    ("norm.*", "transformer_decoder.post_norm.*"),
    ("query_classifier.*", "cls_embed.*"),
    ("mask_embedding.*", "mask_embed.*"),
)

_DINO_NECK = (
    ("lateral.#.conv.*", "convs.#.conv.*"),
    ("lateral.#.norm.*", "convs.#.gn.*"),
    ("coarser.conv.*", "extra_convs.0.conv.*"),
    ("coarser.norm.*", "extra_convs.0.gn.*"),
)

_DINO = (
    ("encoder.level_embedding", "transformer.level_embeds"),
    ("encoder.layers.#.attention.*", "transformer.encoder.layers.#.attentions.0.*"),
    ("encoder.layers.#.norm1.*", "transformer.encoder.layers.#.norms.0.*"),
    ("encoder.layers.#.norm2.*", "transformer.encoder.layers.#.norms.1.*"),
    ("layers.#.self_attention.*", "transformer.decoder.layers.#.attentions.0.attn.*"),
    ("layers.#.cross_attention.*", "transformer.decoder.layers.#.attentions.1.*"),
    ("layers.#.norm1.*", "transformer.decoder.layers.#.norms.0.*"),
    ("layers.#.norm2.*", "transformer.decoder.layers.#.norms.1.*"),
    ("layers.#.norm3.*", "transformer.decoder.layers.#.norms.2.*"),
    ("box_position.*", "transformer.decoder.ref_point_head.*"),
    ("norm.*", "transformer.decoder.norm.*"),
    ("proposal.*", "transformer.enc_output.*"),
    ("proposal_norm.*", "transformer.enc_output_norm.*"),
    ("query_embedding.*", "transformer.query_embed.*"),
    ("classifiers.#.*", "cls_branches.#.*"),
    ("regressors.#.*", "reg_branches.#.*"),
    ("label_embedding.*", "label_embedding.*"),
)

_FEED_FORWARD = (
    ("linear1.*", "layers.0.0.*"),
    ("linear2.*", "layers.1.*"),
)

_SPLIT_FEED_FORWARD = (
    ("bias", "fc2_bias"),
    ("linear1.#.*", "fc1_#.*"),
    ("linear2.#.*", "fc2_#.*"),
)

_COMPOSITE = (
    ("branches.#.feed_scale#", "cb_modules.#.gamma#"),
    ("links.#.#.*", "cb_linears.#.#.*"),
)

_NORM_POSITION: dict[NormLayer, str] = {"layer": "1", "batch": "0"}
_HF_PREFIX = "model."


def layout_of(names: Iterable[str]) -> Layout:
    """Recognise a layout by its names."""
    names = list(names)
    roots = {name.split(".", 1)[0] for name in names}
    stems = ("backbone.patch_embed.", "backbone.cb_modules.0.patch_embed.")
    if "patch_embed" in roots or any(name.startswith(stems) for name in names):
        return "official"
    if "model" in roots:
        return "hf"
    if roots & {"backbone", "stem"}:
        return "ours"
    raise CheckpointMismatchError(
        "the checkpoint holds none of the names of an InternImage model in a known layout (official "
        f"'patch_embed...', Hugging Face 'model.patch_embed...', ours 'backbone.stem...'); its tensors start with "
        f"{', '.join(sorted(roots)[:8]) or 'nothing'}"
    )


def second_copies(names: Iterable[str]) -> set[str]:
    """Names under which mmdetection's EMA hook keeps a second copy: ``ema_backbone_stem_weight``, without dots.

    Its checkpoints are written while the averages stand under the ordinary names, so the copies are the weights of
    training, which nobody predicts with.
    """
    names = set(names)
    return names & {"ema_" + name.replace(".", "_") for name in names}


def to_ours(names: Iterable[str], layout: Layout, config: ModelConfig) -> dict[str, str]:
    """Map each given name of ``layout`` to ours; names that belong to no part of the model are left out."""
    translate = _translator(_table(config), False)
    mapped = {}
    for name in names:
        if layout == "ours":
            bare = isinstance(config, ClassifierConfig) and name.startswith(("stem.", "stages."))
            ours: str | None = f"backbone.{name}" if bare else name
        else:
            ours = translate(_without_hf(name) if layout == "hf" else name)
        if ours is not None:
            mapped[name] = ours
    return mapped


def from_ours(names: Iterable[str], layout: Layout, config: ModelConfig) -> dict[str, str]:
    """Map our names to those of ``layout``, in the same order."""
    if layout == "ours":
        return {name: name for name in names}
    translate = _translator(_table(config), True)
    mapped = {}
    for name in names:
        official = translate(name)
        if official is None:
            raise CheckpointMismatchError(f"{name} has no name in the {layout} layout")
        mapped[name] = official if layout == "official" else _with_hf(official)
    return mapped


def _table(config: ModelConfig) -> tuple[tuple[str, str], ...]:
    rows: tuple[tuple[str, str], ...]
    if isinstance(config, InternImageConfig):
        rows, norm = _backbone_rows(config), config.norm_layer
    elif isinstance(config, MaskRCNNConfig | CascadeRCNNConfig):
        norm, ours, theirs = config.backbone.norm_layer, "head", "head"
        if isinstance(config, CascadeRCNNConfig):
            ours, theirs = "heads.#", "head.#"
        rows = _within("backbone.", "backbone.", _backbone_rows(config.backbone))
        rows += (_PYRAMID_WITH_NORMS if config.neck_norm else _PYRAMID) + _PROPOSALS
        rows += _within(f"box_{ours}.", f"roi_head.bbox_{theirs}.", _BOX_HEAD)
        rows += _within(f"mask_{ours}.", f"roi_head.mask_{theirs}.", _MASK_HEAD) if config.mask_width else ()
    elif isinstance(config, DINOConfig):
        norm = config.backbone.norm_layer
        rows = _within("backbone.", "backbone.", _backbone_rows(config.backbone))
        if config.composite is not None:
            rows = _within("backbone.branches.#.", "backbone.cb_modules.#.", _backbone_rows(config.backbone))
            rows += _within("backbone.", "backbone.", _COMPOSITE)
        rows += _within("neck.", "neck.0." if config.composite else "neck.", _DINO_NECK)
        rows += _within("", "bbox_head.", _DINO)
        parts = _FEED_FORWARD if config.parts == 1 else _SPLIT_FEED_FORWARD
        for ours, theirs in (("encoder.layers.#", "encoder.layers.#"), ("layers.#", "decoder.layers.#")):
            rows += _within(f"{ours}.feed_forward.", f"bbox_head.transformer.{theirs}.ffns.0.", parts)
    elif isinstance(config, UperNetConfig | SegFormerConfig | Mask2FormerConfig):
        norm = config.backbone.norm_layer
        rows = _within("backbone.", "backbone.", _backbone_rows(config.backbone))
        if isinstance(config, Mask2FormerConfig):
            rows += _within("pixel_decoder.", "decode_head.pixel_decoder.", _PIXEL_DECODER)
            rows += _within("", "decode_head.", _QUERIES)
        else:
            rows += _UPERNET if isinstance(config, UperNetConfig) else _SEGFORMER
    else:
        norm = config.backbone.norm_layer
        rows = _within("backbone.", "", _backbone_rows(config.backbone))
        rows += _METADATA_HEAD if config.metadata_channels else ()
        rows += _CONV_HEAD if config.head == "conv" else _ATTENTION_POOL_HEAD
    return tuple((ours, official.replace("{norm}", _NORM_POSITION[norm])) for ours, official in rows)


def _backbone_rows(config: InternImageConfig) -> tuple[tuple[str, str], ...]:
    return tuple((dict(_BACKBONE) | _FLASH).items()) if config.layer == "dcnv4" else _BACKBONE


def _within(ours: str, theirs: str, rows: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The rows of a part, below its place in the whole."""
    return tuple((ours + first, theirs + second) for first, second in rows)


@cache
def _translator(table: tuple[tuple[str, str], ...], from_first: bool) -> Callable[[str], str | None]:
    rules = []
    for ours, official in table:
        source, target = (ours, official) if from_first else (official, ours)
        pattern = re.escape(source).replace(r"\#", r"(\d+)").replace(r"\*", r"(.+)")
        rules.append((re.compile(pattern), _numbered(target)))

    def translate(name: str) -> str | None:
        for pattern, template in rules:
            match = pattern.fullmatch(name)
            if match:
                return match.expand(template)
        return None

    return translate


def _numbered(template: str) -> str:
    r"""``levels.#.norm.*`` -> ``levels.\1.norm.\2``."""
    numbers = count(1)
    return re.sub(r"[#*]", lambda _: f"\\{next(numbers)}", template)


def _with_hf(official: str) -> str:
    """transformers renames "gamma" on loading, hence the published models avoid the word."""
    return _HF_PREFIX + re.sub(r"\bgamma([12])$", r"layer_scale\1", official)


def _without_hf(name: str) -> str:
    return re.sub(r"\blayer_scale([12])$", r"gamma\1", name.removeprefix(_HF_PREFIX))
