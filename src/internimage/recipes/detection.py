"""The released detectors."""

from __future__ import annotations

from dataclasses import replace

from internimage.backbones.composite import CompositeConfig
from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import PackagedModel
from internimage.images import FitPreprocessing
from internimage.layers.detection import DetectionConfig
from internimage.models.cascade_rcnn import CascadeRCNNConfig
from internimage.models.dino import DINOConfig
from internimage.models.mask_rcnn import MaskRCNNConfig
from internimage.recipes.classification import BACKBONES
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, released_file

_BOXES = "COCO box AP"


def _backbone(name: str) -> InternImageConfig:
    """As in the classifiers, but for the layer scales, which start at 1; H and G have none."""
    return BACKBONES[name] if name in ("H", "G") else replace(BACKBONES[name], layer_scale=1.0)


def _recipe(
    name: str,
    config: MaskRCNNConfig | CascadeRCNNConfig | DINOConfig,
    parameters: int,
    gmacs: float,
    published: PublishedScore | None,
    *,
    labels: str | None = "coco",
    size: int = 800,
    long: int | None = None,
    packaged: bool = False,
    measured: MeasuredScore | None = None,
    note: str = "",
) -> Recipe:
    kinds = {MaskRCNNConfig: "mask_rcnn", CascadeRCNNConfig: "cascade_rcnn", DINOConfig: "dino"}
    released = released_file(name, config.backbone) if published else None
    return Recipe(
        name=name,
        task="detection",
        architecture=kinds[type(config)],
        config=config,
        preprocessing=FitPreprocessing(size, long or round(size * 1333 / 800)),
        parameters=parameters,
        gmacs=gmacs,
        labels=labels,
        weights=PackagedModel(name) if packaged else released,
        published=published,
        measured=measured,
        note=note,
    )


def _coco(boxes: float, masks: float, flops: str) -> PublishedScore:
    return PublishedScore(_BOXES, boxes, flops, masks)


def _large(
    name: str,
    config: DINOConfig,
    parameters: int,
    gmacs: float,
    score: float,
    *,
    several: float | None = None,
    data: str = "COCO",
    note: str = "",
) -> Recipe:
    """Pre-trained on Objects365; pictures of 1000 pixels and more."""
    published = PublishedScore(f"{data} box AP", score, None, multi_scale=several)
    labels = {"COCO": "coco", "VOC 2007": "voc"}.get(data)
    return _recipe(name, config, parameters, gmacs, published, labels=labels, size=1000, long=2000, note=note)


_T, _S, _B = (MaskRCNNConfig(_backbone(name)) for name in "TSB")
_L, _XL = (CascadeRCNNConfig(_backbone(name)) for name in ("L", "XL"))
_XL_CROWD = CascadeRCNNConfig(
    _backbone("XL"),
    num_classes=1,
    box_convolutions=0,
    box_linears=2,
    box_per_class=False,
    box_loss="smooth_l1",
    mask_width=None,
)

_FLASH_T, _FLASH_S, _FLASH_B = (MaskRCNNConfig(_backbone(f"flash_{name}"), neck_norm=True) for name in "TSB")
_FLASH_L = CascadeRCNNConfig(_backbone("flash_L"), neck_norm=True)

# Anchors of 16 pixels and more: pictures of 320 pixels show objects smaller than the released detectors see them.
_SMALL = MaskRCNNConfig(
    BACKBONES["atto"],
    channels=64,
    anchor_scale=4,
    box_width=256,
    mask_width=64,
    detections=DetectionConfig(keep=300),
    sampled_regions=128,
)
_SMALL_FLASH = replace(_SMALL, backbone=BACKBONES["flash_atto"])

_DINO_H = DINOConfig(_backbone("H"), denoising=1000)
_DINO_CB = replace(_DINO_H, composite=CompositeConfig(half_precision_scale=True))
_SMALL_DINO = DINOConfig(BACKBONES["atto"], channels=128, queries=100, encoder_layers=3, decoder_layers=3, width=512)

RECIPES = (
    _recipe(
        "mask_rcnn_internimage_atto_fpn",
        _SMALL,
        4_550_648,
        21.64,
        None,
        labels=None,
        size=320,
        note="ours, for CPUs and quick fine-tuning",
    ),
    _recipe(
        "mask_rcnn_flash_internimage_atto_fpn",
        _SMALL_FLASH,
        4_548_480,
        21.64,
        None,
        labels=None,
        size=320,
        note="ours, for CPUs and quick fine-tuning",
    ),
    _recipe(
        "faster_rcnn_internimage_atto_bccd_320",
        replace(_SMALL, num_classes=3, mask_width=None),
        4_282_343,
        17.92,
        None,
        labels=None,
        size=320,
        packaged=True,
        measured=MeasuredScore(
            "box AP50 on the 87 validation pictures of BCCD",
            "python benchmarks/detection.py",
            seeds=(88.8,),
            shipped=88.8,
            peers={"fasterrcnn_mobilenet_v3_large_320_fpn": (59.8,)},
        ),
        note="ours, in the package: red cells, white cells and platelets in blood",
    ),
    _recipe(
        "mask_rcnn_internimage_atto_nuclei_320",
        replace(_SMALL, num_classes=1),
        4_443_998,
        21.14,
        None,
        labels=None,
        size=320,
        packaged=True,
        measured=MeasuredScore(
            "mask AP50 on the 19 validation pictures of nuclei",
            "python benchmarks/detection.py",
            seeds=(76.8,),
            shipped=76.8,
            peers={"maskrcnn_resnet50_fpn": (3.9,)},
        ),
        note="ours, in the package: nuclei of cells and their outlines",
    ),
    _recipe("mask_rcnn_internimage_t_fpn_1x_coco", _T, 48_920_544, 268.9, _coco(47.2, 42.5, "270G")),
    _recipe("mask_rcnn_internimage_t_fpn_3x_coco", _T, 48_920_544, 268.9, _coco(49.1, 43.7, "270G")),
    _recipe("mask_rcnn_internimage_s_fpn_1x_coco", _S, 68_715_024, 338.8, _coco(47.8, 43.3, "340G")),
    _recipe("mask_rcnn_internimage_s_fpn_3x_coco", _S, 68_715_024, 338.8, _coco(49.7, 44.5, "340G")),
    _recipe("mask_rcnn_internimage_b_fpn_1x_coco", _B, 115_245_264, 499.7, _coco(48.8, 44.0, "501G")),
    _recipe("mask_rcnn_internimage_b_fpn_3x_coco", _B, 115_245_264, 499.7, _coco(50.3, 44.8, "501G")),
    _recipe("cascade_internimage_l_fpn_1x_coco", _L, 277_307_236, 1396.0, _coco(54.9, 47.7, "1399G")),
    _recipe("cascade_internimage_l_fpn_3x_coco", _L, 277_307_236, 1396.0, _coco(56.1, 48.5, "1399G")),
    _recipe("cascade_internimage_xl_fpn_1x_coco", _XL, 387_448_974, 1778.5, _coco(55.3, 48.1, "1782G")),
    _recipe("cascade_internimage_xl_fpn_3x_coco", _XL, 387_448_974, 1778.5, _coco(56.2, 48.8, "1782G")),
    _recipe(
        "cascade_internimage_xl_fpn_3x_crowd_human",
        _XL_CROWD,
        374_369_277,
        1274.7,
        None,
        labels="crowdhuman",
        note="people in crowds; boxes alone; no weights were published",
    ),
    _recipe(
        "dino_internimage_atto",
        _SMALL_DINO,
        5_150_488,
        25.15,
        None,
        labels=None,
        size=320,
        note="ours, for CPUs and quick fine-tuning",
    ),
    _recipe(
        "dino_4scale_internimage_t_1x_coco",
        DINOConfig(_backbone("T"), detections=DetectionConfig(0.0, 0.7, 100)),
        48_736_828,
        288.4,
        PublishedScore(_BOXES, 53.9),
    ),
    *(
        _recipe(name, DINOConfig(_backbone("L")), 241_033_214, 936.2, PublishedScore(_BOXES, score))
        for name, score in (
            ("dino_4scale_internimage_l_1x_coco_0.1x_backbone_lr", 57.6),
            ("dino_4scale_internimage_l_1x_coco_layer_wise_lr", 57.5),
        )
    ),
    _large("dino_4scale_internimage_h_objects365_coco", _DINO_H, 1_098_725_884, 3899.2, 63.4),
    _large(
        "dino_4scale_internimage_g_objects365_coco",
        DINOConfig(_backbone("G"), denoising=1000, parts=4),
        3_082_611_660,
        10750.2,
        64.2,
    ),
    _large("dino_4scale_cbinternimage_h_objects365_coco", _DINO_CB, 2_178_558_124, 7587.3, 64.5, several=65.0),
    _large(
        "dino_4scale_cbinternimage_h_objects365_lvis",
        replace(_DINO_CB, num_classes=1203),
        2_180_865_889,
        7593.6,
        65.8,
        data="LVIS minival",
        note="62.3 on LVIS val, 63.2 with several views; classes are numbered",
    ),
    _large(
        "dino_4scale_cbinternimage_h_objects365_openimages",
        replace(_DINO_CB, num_classes=601),
        2_179_628_779,
        7590.2,
        74.1,
        data="OpenImages",
        note="classes are numbered",
    ),
    _large(
        "dino_4scale_cbinternimage_h_objects365_voc0712",
        replace(_DINO_CB, num_classes=20),
        2_178_434_824,
        7586.9,
        94.0,
        data="VOC 2007",
        note="97.2 on VOC 2012",
    ),
    *(
        _recipe(f"{head}_flash_internimage_{size}", config, parameters, gmacs, PublishedScore(_BOXES, *scores))
        for head, size, config, parameters, gmacs, scores in (
            ("mask_rcnn", "t_fpn_1x_coco", _FLASH_T, 48_819_696, 268.5, (48.0, None, 43.1)),
            ("mask_rcnn", "t_fpn_3x_coco", _FLASH_T, 48_819_696, 268.5, (49.5, None, 44.0)),
            ("mask_rcnn", "s_fpn_1x_coco", _FLASH_S, 68_704_688, 339.0, (49.2, None, 44.0)),
            ("mask_rcnn", "s_fpn_3x_coco", _FLASH_S, 68_704_688, 339.0, (50.5, None, 44.9)),
            ("mask_rcnn", "b_fpn_1x_coco", _FLASH_B, 115_234_440, 500.1, (50.1, None, 44.5)),
            ("mask_rcnn", "b_fpn_3x_coco", _FLASH_B, 115_234_440, 500.1, (50.6, None, 45.4)),
            ("cascade", "l_fpn_1x_coco", _FLASH_L, 277_271_554, 1396.2, (55.6, None, 48.2)),
            ("cascade", "l_fpn_3x_coco", _FLASH_L, 277_271_554, 1396.2, (56.7, None, 48.9)),
            ("dino_4scale", "t_1x_coco", DINOConfig(_backbone("flash_T")), 48_633_932, 288.1, (54.7,)),
            ("dino_4scale", "s_1x_coco", DINOConfig(_backbone("flash_S")), 68_809_740, 358.3, (55.3,)),
            ("dino_4scale", "b_1x_coco", DINOConfig(_backbone("flash_B")), 115_921_124, 519.0, (56.0,)),
            ("dino_4scale", "l_1x_coco", DINOConfig(_backbone("flash_L")), 240_995_484, 936.4, (58.8,)),
        )
    ),
)
