"""Names of a BEVFormer v2's tensors."""

from __future__ import annotations

from internimage.checkpoints.names.table import within

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
