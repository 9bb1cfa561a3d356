"""Names that Mask R-CNN and Cascade R-CNN share."""

from __future__ import annotations

from internimage.checkpoints.names.backbone import backbone_rows
from internimage.checkpoints.names.table import Rows, within
from internimage.models.cascade_rcnn import CascadeRCNNConfig
from internimage.models.mask_rcnn import MaskRCNNConfig

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


def rcnn_rows(config: MaskRCNNConfig | CascadeRCNNConfig, ours: str, theirs: str) -> Rows:
    """The table of a detector whose heads are called ``box_<ours>`` and ``mask_<ours>``."""
    return (
        *within("backbone.", "backbone.", backbone_rows(config.backbone)),
        *(_PYRAMID_WITH_NORMS if config.neck_norm else _PYRAMID),
        *_PROPOSALS,
        *within(f"box_{ours}.", f"roi_head.bbox_{theirs}.", _BOX_HEAD),
        *(within(f"mask_{ours}.", f"roi_head.mask_{theirs}.", _MASK_HEAD) if config.mask_width else ()),
    )
