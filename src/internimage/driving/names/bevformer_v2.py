"""Names of a BEVFormer v2's tensors."""

from __future__ import annotations

from internimage.checkpoints.layouts import names_of
from internimage.checkpoints.names.table import Names, Rows, within
from internimage.driving.models.bevformer_v2 import BEVFormerV2Config
from internimage.driving.names.bevformer import DECODER, ENCODER, NECK

_TOWER = (
    ("norms.#.*", "norm.#.*"),
    ("conv.weight", "weight"),
)

PERSPECTIVE = (
    *within("class_tower.#.", "fcos2d_head.cls_tower.#.", _TOWER),
    *within("plane_tower.#.", "fcos2d_head.box2d_tower.#.", _TOWER),
    *within("space_tower.#.", "fcos3d_head.box3d_tower.#.", _TOWER),
    ("logits.*", "fcos2d_head.cls_logits.*"),
    ("sides.*", "fcos2d_head.box2d_reg.*"),
    ("centrality.*", "fcos2d_head.centerness.*"),
    ("sides_scales.#", "fcos2d_head.scales_box2d_reg.#.scale"),
    ("mean_depths", "fcos3d_head.mean_depth_per_level"),
    ("depth_spreads", "fcos3d_head.std_depth_per_level"),
    ("quaternions.*", "fcos3d_head.box3d_quat.0.*"),
    ("centres.*", "fcos3d_head.box3d_ctr.0.*"),
    ("depths.*", "fcos3d_head.box3d_depth.0.*"),
    ("sizes.*", "fcos3d_head.box3d_size.0.*"),
    ("confidences.*", "fcos3d_head.box3d_conf.0.*"),
    ("centre_scales.#", "fcos3d_head.scales_proj_ctr.#.scale"),
    ("size_scales.#", "fcos3d_head.scales_size.#.scale"),
    ("confidence_scales.#", "fcos3d_head.scales_conf.#.scale"),
    ("depth_scales.#", "fcos3d_head.scales_depth.#.scale"),
    ("depth_offsets.#", "fcos3d_head.offsets_depth.#.bias"),
    ("attributes.*", "attr_logits.*"),
    ("speeds.*", "speed.*"),
)
"""Of a :class:`internimage.driving.perspective.head.PerspectiveHead`, without its prefix."""


_BLOCK = (
    ("first.conv.*", "conv1.*"),
    ("first.norm.*", "bn1.*"),
    ("second.conv.*", "conv2.*"),
    ("second.norm.*", "bn2.*"),
    ("shortcut.conv.*", "downsample.0.*"),
    ("shortcut.norm.*", "downsample.1.*"),
)

FUSION = (
    *within("blocks.#.", "layers.#.", _BLOCK),
    ("linear.*", "layer_norm.0.*"),
    ("norm.*", "layer_norm.1.*"),
)
"""Of a :class:`internimage.driving.bev.fusion.Fusion`, likewise."""

_PROPOSALS = (  # nobody has released any; so that every tensor has a name
    ("proposal_embedding.*", "proposal_embedding.*"),
    ("placing.#.*", "proposal_placing.#.*"),
)


def _rows(config: BEVFormerV2Config) -> Rows:
    head = (
        ("code_weights", "code_weights"),
        *within("encoder.", "", ENCODER),
        *within("decoder.", "", (*DECODER, *_PROPOSALS)),
        *within("fusion.", "transformer.fusion.", FUSION),
    )
    return (
        *within("backbone.", "img_backbone.", names_of(config.backbone).rows(config.backbone)),
        *within("neck.", "img_neck.", NECK),
        *within("", "pts_bbox_head.", head),
        *within("perspective.", "fcos3d_bbox_head.", PERSPECTIVE),
    )


NAMES = Names(_rows)
