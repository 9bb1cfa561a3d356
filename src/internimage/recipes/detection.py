"""The detectors: the released ones but for those after Objects365, and small ones of ours.  One call is one model."""

from __future__ import annotations

from typing import Any

from internimage.checkpoints.hub import PackagedModel
from internimage.images import FitPreprocessing
from internimage.recipes import detection_objects365
from internimage.recipes.backbones import (
    ATTO,
    FLASH_ATTO,
    FLASH_B,
    FLASH_L,
    FLASH_S,
    FLASH_T,
    XL,
    B,
    H,
    L,
    S,
    T,
    dense,
    released_file,
)
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import BDD100K, CROWD_HUMAN, detector_1x, detector_3x, dino_1x

_BOXES = "COCO box AP"

# Anchors of 16 pixels and more: pictures of 320 pixels show objects smaller than the released detectors see them.
_SMALL: dict[str, Any] = {
    "channels": 64,
    "anchor_scale": 4,
    "box_width": 256,
    "mask_width": 64,
    "detections": {"keep": 300},
    "sampled_regions": 128,
}


def _ours(name: str, architecture: str, plain: dict[str, Any], **fields: Any) -> Recipe:
    """A small detector for pictures of 320 pixels."""
    preprocessing = FitPreprocessing(short=320, long=533)
    fields = {"note": "ours, for CPUs and quick fine-tuning", **fields}
    return Recipe(name, "detection", architecture, plain, preprocessing, **fields)


def _coco(
    name: str, architecture: str, plain: dict[str, Any], *, training: TrainingRecipe, published: PublishedScore
) -> Recipe:
    """A released detector of COCO's 80 classes."""
    return Recipe(
        name,
        "detection",
        architecture,
        plain,
        preprocessing=FitPreprocessing(short=800, long=1333),
        labels="coco",
        weights=released_file(name, plain["backbone"]),
        published=published,
        training=training,
    )


RECIPES: tuple[Recipe, ...] = (
    # ours
    _ours("mask_rcnn_internimage_atto_fpn", "mask_rcnn", {"backbone": ATTO, **_SMALL}),
    _ours("mask_rcnn_flash_internimage_atto_fpn", "mask_rcnn", {"backbone": FLASH_ATTO, **_SMALL}),
    _ours(
        "faster_rcnn_internimage_atto_bccd_320",
        "mask_rcnn",
        {"backbone": ATTO, **_SMALL, "num_classes": 3, "mask_width": None},
        weights=PackagedModel("faster_rcnn_internimage_atto_bccd_320"),
        measured=MeasuredScore(
            "box AP50 on the 87 validation pictures of BCCD",
            "python benchmarks/detection.py",
            seeds=(88.8,),
            shipped=88.8,
            peers={"fasterrcnn_mobilenet_v3_large_320_fpn": (59.8,)},
        ),
        note="ours, in the package: red cells, white cells and platelets in blood",
    ),
    _ours(
        "mask_rcnn_internimage_atto_nuclei_320",
        "mask_rcnn",
        {"backbone": ATTO, **_SMALL, "num_classes": 1},
        weights=PackagedModel("mask_rcnn_internimage_atto_nuclei_320"),
        measured=MeasuredScore(
            "mask AP50 on the 19 validation pictures of nuclei",
            "python benchmarks/detection.py",
            seeds=(76.8,),
            shipped=76.8,
            peers={"maskrcnn_resnet50_fpn": (3.9,)},
        ),
        note="ours, in the package: nuclei of cells and their outlines",
    ),
    # InternImage in Mask R-CNN
    _coco(
        "mask_rcnn_internimage_t_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(T)},
        training=detector_1x("internimage_t_1k_224", drop_path=0.2),
        published=PublishedScore(_BOXES, 47.2, "270G", masks=42.5),
    ),
    _coco(
        "mask_rcnn_internimage_t_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(T)},
        training=detector_3x("internimage_t_1k_224", drop_path=0.2),
        published=PublishedScore(_BOXES, 49.1, "270G", masks=43.7),
    ),
    _coco(
        "mask_rcnn_internimage_s_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(S)},
        training=detector_1x("internimage_s_1k_224", drop_path=0.3),
        published=PublishedScore(_BOXES, 47.8, "340G", masks=43.3),
    ),
    _coco(
        "mask_rcnn_internimage_s_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(S)},
        training=detector_3x("internimage_s_1k_224", drop_path=0.3),
        published=PublishedScore(_BOXES, 49.7, "340G", masks=44.5),
    ),
    _coco(
        "mask_rcnn_internimage_b_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(B)},
        training=detector_1x("internimage_b_1k_224", drop_path=0.4),
        published=PublishedScore(_BOXES, 48.8, "501G", masks=44.0),
    ),
    _coco(
        "mask_rcnn_internimage_b_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(B)},
        training=detector_3x("internimage_b_1k_224", drop_path=0.4),
        published=PublishedScore(_BOXES, 50.3, "501G", masks=44.8),
    ),
    # InternImage in Cascade Mask R-CNN
    _coco(
        "cascade_internimage_l_fpn_1x_coco",
        "cascade_rcnn",
        {"backbone": dense(L)},
        training=detector_1x("internimage_l_22k_192to384", drop_path=0.4, layer_decay=0.94),
        published=PublishedScore(_BOXES, 54.9, "1399G", masks=47.7),
    ),
    _coco(
        "cascade_internimage_l_fpn_3x_coco",
        "cascade_rcnn",
        {"backbone": dense(L)},
        training=detector_3x("internimage_l_22k_192to384", drop_path=0.4, lr=2e-4, layer_decay=0.9, ema_decay=0.9999),
        published=PublishedScore(_BOXES, 56.1, "1399G", masks=48.5),
    ),
    _coco(
        "cascade_internimage_xl_fpn_1x_coco",
        "cascade_rcnn",
        {"backbone": dense(XL)},
        training=detector_1x("internimage_xl_22k_192to384", drop_path=0.4, layer_decay=0.94),
        published=PublishedScore(_BOXES, 55.3, "1782G", masks=48.1),
    ),
    _coco(
        "cascade_internimage_xl_fpn_3x_coco",
        "cascade_rcnn",
        {"backbone": dense(XL)},
        training=detector_3x("internimage_xl_22k_192to384", drop_path=0.6, lr=2e-4, layer_decay=0.9, ema_decay=0.9999),
        published=PublishedScore(_BOXES, 56.2, "1782G", masks=48.8),
    ),
    Recipe(
        "cascade_internimage_xl_fpn_3x_crowd_human",
        "detection",
        "cascade_rcnn",
        {
            "backbone": dense(XL),
            "num_classes": 1,
            "box_convolutions": 0,
            "box_linears": 2,
            "box_per_class": False,
            "box_loss": "smooth_l1",
            "mask_width": None,
        },
        preprocessing=FitPreprocessing(short=800, long=1333),
        labels="crowdhuman",
        training=detector_3x(
            "internimage_xl_22k_192to384",
            drop_path=0.4,
            pictures=CROWD_HUMAN,
            layer_decay=0.94,
            weight_decay=1e-4,
        ),
        note="people in crowds; boxes alone; no weights were published",
    ),
    # InternImage in DINO
    _ours(
        "dino_internimage_atto",
        "dino",
        {"backbone": ATTO, "channels": 128, "queries": 100, "encoder_layers": 3, "decoder_layers": 3, "width": 512},
    ),
    _ours(
        "mask_dino_internimage_atto",
        "mask_dino",
        {
            "backbone": ATTO,
            "channels": 128,
            "queries": 100,
            "encoder_layers": 3,
            "decoder_layers": 3,
            "width": 512,
            "denoising": 40,
            "encoder_width": 512,
            "mask_width": 128,
            "mask_points": 2_048,
            "mask_size": 56,
        },
        note="ours, no released weights: objects and their masks from queries, for CPUs",
    ),
    Recipe(
        "mask_dino_internimage_t",
        "detection",
        "mask_dino",
        {"backbone": dense(T)},
        preprocessing=FitPreprocessing(short=800, long=1333),
        labels="coco",
        note="ours, no released weights: the published heads on T",
    ),
    _coco(
        "dino_4scale_internimage_t_1x_coco",
        "dino",
        {
            "backbone": dense(T),
            "detections": {"score_threshold": 0.0, "nms_threshold": 0.7, "keep": 100},
        },
        training=dino_1x("internimage_t_1k_224", drop_path=0.2, layer_decay=0.9),
        published=PublishedScore(_BOXES, 53.9),
    ),
    _coco(
        "dino_4scale_internimage_l_1x_coco_0.1x_backbone_lr",
        "dino",
        {"backbone": dense(L)},
        training=dino_1x("internimage_l_22k_192to384", drop_path=0.4, backbone_lr_scale=0.1, weight_decay=0.05),
        published=PublishedScore(_BOXES, 57.6),
    ),
    _coco(
        "dino_4scale_internimage_l_1x_coco_layer_wise_lr",
        "dino",
        {"backbone": dense(L)},
        training=dino_1x("internimage_l_22k_192to384", drop_path=0.4, layer_decay=0.9),
        published=PublishedScore(_BOXES, 57.5),
    ),
    Recipe(
        "dino_4scale_internimage_h_1x_bdd100k",
        "detection",
        "dino",
        {"backbone": H},
        preprocessing=FitPreprocessing(short=800, long=1333),
        labels="bdd100k",
        published=PublishedScore("BDD100K box AP", 38.8),
        training=dino_1x("internimage_h_jointto22k_384", drop_path=0.5, pictures=BDD100K, layer_decay=0.94),
        note="of the paper, which names backbone, start and 12 epochs; no configuration and no weights were published",
    ),
    *detection_objects365.RECIPES,
    # FlashInternImage
    _coco(
        "mask_rcnn_flash_internimage_t_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_T), "neck_norm": True},
        training=detector_1x("flash_intern_image_t_1k_224", drop_path=0.2),
        published=PublishedScore(_BOXES, 48.0, masks=43.1),
    ),
    _coco(
        "mask_rcnn_flash_internimage_t_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_T), "neck_norm": True},
        training=detector_3x("flash_intern_image_t_1k_224", drop_path=0.2),
        published=PublishedScore(_BOXES, 49.5, masks=44.0),
    ),
    _coco(
        "mask_rcnn_flash_internimage_s_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_S), "neck_norm": True},
        training=detector_1x("flash_intern_image_s_1k_224", drop_path=0.3),
        published=PublishedScore(_BOXES, 49.2, masks=44.0),
    ),
    _coco(
        "mask_rcnn_flash_internimage_s_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_S), "neck_norm": True},
        training=detector_3x("flash_intern_image_s_1k_224", drop_path=0.4, batch_size=8, lr=2e-4, lr_batch_size=64),
        published=PublishedScore(_BOXES, 50.5, masks=44.9),
    ),
    _coco(
        "mask_rcnn_flash_internimage_b_fpn_1x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_B), "neck_norm": True},
        training=detector_1x("flash_intern_image_b_1k_224", drop_path=0.3),
        published=PublishedScore(_BOXES, 50.1, masks=44.5),
    ),
    _coco(
        "mask_rcnn_flash_internimage_b_fpn_3x_coco",
        "mask_rcnn",
        {"backbone": dense(FLASH_B), "neck_norm": True},
        training=detector_3x(
            "flash_intern_image_b_1k_224",
            drop_path=0.4,
            batch_size=4,
            lr=2e-4,
            lr_batch_size=32,
            layer_decay=0.9,
            deformable_lr_scale=0.01,
        ),
        published=PublishedScore(_BOXES, 50.6, masks=45.4),
    ),
    _coco(
        "cascade_flash_internimage_l_fpn_1x_coco",
        "cascade_rcnn",
        {"backbone": dense(FLASH_L), "neck_norm": True},
        training=detector_1x("flash_intern_image_l_22k_384", drop_path=0.4, layer_decay=0.94),
        published=PublishedScore(_BOXES, 55.6, masks=48.2),
    ),
    _coco(
        "cascade_flash_internimage_l_fpn_3x_coco",
        "cascade_rcnn",
        {"backbone": dense(FLASH_L), "neck_norm": True},
        training=detector_3x(
            "flash_intern_image_l_22k_384",
            drop_path=0.4,
            batch_size=4,
            lr=2e-4,
            lr_batch_size=32,
            layer_decay=0.9,
            deformable_lr_scale=0.01,
            ema_decay=0.9999,
        ),
        published=PublishedScore(_BOXES, 56.7, masks=48.9),
    ),
    _coco(
        "dino_4scale_flash_internimage_t_1x_coco",
        "dino",
        {"backbone": dense(FLASH_T)},
        training=dino_1x(
            "flash_intern_image_t_1k_224", drop_path=0.2, layer_decay=0.9, batch_size=4, lr=2e-4, lr_batch_size=32
        ),
        published=PublishedScore(_BOXES, 54.7),
    ),
    _coco(
        "dino_4scale_flash_internimage_s_1x_coco",
        "dino",
        {"backbone": dense(FLASH_S)},
        training=dino_1x(
            "flash_intern_image_s_1k_224", drop_path=0.3, layer_decay=0.9, batch_size=4, lr=2e-4, lr_batch_size=32
        ),
        published=PublishedScore(_BOXES, 55.3),
    ),
    _coco(
        "dino_4scale_flash_internimage_b_1x_coco",
        "dino",
        {"backbone": dense(FLASH_B)},
        training=dino_1x(
            "flash_intern_image_b_1k_224", drop_path=0.3, layer_decay=0.9, batch_size=4, lr=2e-4, lr_batch_size=32
        ),
        published=PublishedScore(_BOXES, 56.0),
    ),
    _coco(
        "dino_4scale_flash_internimage_l_1x_coco",
        "dino",
        {"backbone": dense(FLASH_L)},
        training=dino_1x("flash_intern_image_l_22k_384", drop_path=0.4, backbone_lr_scale=0.1, weight_decay=0.05),
        published=PublishedScore(_BOXES, 58.8),
    ),
)
