"""Names of a classifier's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.models.classifier import ClassifierConfig

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


def _rows(config: ClassifierConfig) -> Rows:
    return (
        *within("backbone.", "", backbone_rows(config.backbone)),
        *(_METADATA_HEAD if config.metadata_channels else ()),
        *(_CONV_HEAD if config.head == "conv" else _ATTENTION_POOL_HEAD),
    )


NAMES = Names(_rows, key="model", hugging_face=True, bare_backbone=True)
