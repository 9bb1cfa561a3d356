"""The released segmenters."""

from __future__ import annotations

from dataclasses import replace

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import PackagedModel
from internimage.images import FitPreprocessing
from internimage.layers.segmentation import Window
from internimage.models.mask2former import Mask2FormerConfig
from internimage.models.segformer import SegFormerConfig
from internimage.models.upernet import UperNetConfig
from internimage.recipes.classification import BACKBONES
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, released_file

_DATA = {
    "ade20k": "ADE20K",
    "cityscapes": "Cityscapes",
    "coco_stuff": "COCO-Stuff",
    "pascal_context": "Pascal Context",
    "nyu40": "NYU Depth V2",
}
_COPIED_HEAD = (
    "150 outputs, of which the 19 of Cityscapes were trained; others may be predicted, as in the released code"
)


def _recipe(
    name: str,
    config: UperNetConfig | SegFormerConfig | Mask2FormerConfig,
    parameters: int,
    gmacs: float,
    labels: str | None,
    preprocessing: FitPreprocessing,
    published: tuple[float, float | None] | None = None,
    flops: str | None = None,
    *,
    released: bool = True,
    packaged: bool = False,
    measured: MeasuredScore | None = None,
    note: str = "",
) -> Recipe:
    weights = released_file(name, config.backbone) if released and labels is not None else None
    kinds = {UperNetConfig: "upernet", SegFormerConfig: "segformer", Mask2FormerConfig: "mask2former"}
    score = None
    if published is not None and labels is not None:
        score = PublishedScore(f"{_DATA[labels]} mIoU", published[0], flops, multi_scale=published[1])
    return Recipe(
        name=name,
        task="segmentation",
        architecture=kinds[type(config)],
        config=config,
        preprocessing=preprocessing,
        parameters=parameters,
        gmacs=gmacs,
        labels=labels,
        weights=PackagedModel(name) if packaged else weights,
        published=score,
        measured=measured,
        note=note,
    )


def _backbone(size: str) -> InternImageConfig:
    """As in the classifiers, but for the layer scales, which start at 1; H and G have none."""
    return BACKBONES[size] if size in ("H", "G") else replace(BACKBONES[size], layer_scale=1.0)


def _wide(num_classes: int) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        _backbone("H"), num_classes, channels=1024, queries=200, encoder_width=4096, decoder_width=4096
    )


def _narrow(num_classes: int, window: int | None = None) -> Mask2FormerConfig:
    parts = Window((window, window), (512, 512)) if window else None
    return Mask2FormerConfig(_backbone("H"), num_classes, window=parts)


def _flash(size: str) -> Mask2FormerConfig:
    return Mask2FormerConfig(_backbone(f"flash_{size}"), queries=200, encoder_width=2048)


def _frame(short: int, long: int | None = None, multiple: int = 32) -> FitPreprocessing:
    return FitPreprocessing(short, long or 4 * short, multiple=multiple)


_SIZES = ("T", "S", "B", "L", "XL", "H", "G")
_FLASH = ("flash_T", "flash_S", "flash_B", "flash_L")
_UPERNET = {size: UperNetConfig(_backbone(size)) for size in (*_SIZES, *_FLASH)}
_SEGFORMER = {size: SegFormerConfig(_backbone(size)) for size in ("L", "XL")}
_CITY = _frame(1024, 2048, 1)


def _ade20k(
    size: str, side: int, parameters: int, gmacs: float, score: tuple[float, float] | None, flops: str | None
) -> Recipe:
    return _recipe(
        f"upernet_internimage_{size.lower()}_{side}_160k_ade20k",
        _UPERNET[size],
        parameters,
        gmacs,
        "ade20k",
        _frame(side),
        score,
        flops,
        released=score is not None,
        note="" if score else "no weights were published",
    )


def _city(
    name: str,
    config: UperNetConfig | SegFormerConfig,
    parameters: int,
    gmacs: float,
    score: tuple[float, float] | None,
    flops: str,
) -> Recipe:
    note = _COPIED_HEAD
    if name.endswith("_mapillary"):
        note = f"trained on Mapillary with the classes of Cityscapes; {note}"
    return _recipe(name, config, parameters, gmacs, "cityscapes", _CITY, score, flops, note=note)


# A hundredth of the released decoders' cost: width 96, and for Mask2Former three layers each.
_SMALL = UperNetConfig(BACKBONES["atto"], channels=96, auxiliary_channels=None)
_SMALL_QUERIES = Mask2FormerConfig(
    BACKBONES["atto"],
    channels=96,
    queries=50,
    encoder_layers=3,
    encoder_width=384,
    decoder_layers=3,
    decoder_width=384,
)
_TINY = SegFormerConfig(BACKBONES["zepto"], channels=96)
_OURS = "ours, for CPUs and quick fine-tuning"

RECIPES = (
    _recipe("segformer_internimage_zepto", _TINY, 360_377, 0.444, None, _frame(256, 1024, 1), note=_OURS),
    _recipe(
        "segformer_internimage_zepto_nuclei_384",
        replace(_TINY, num_classes=3),
        346_118,
        0.354,
        None,
        _frame(384, 1536, 1),
        packaged=True,
        measured=MeasuredScore(
            "mIoU on the 19 validation pictures of nuclei",
            "internimage evaluate --part val",
            seeds=(66.1,),
            shipped=66.1,
        ),
        note="ours, in the package: background, nuclei of cells and their boundaries",
    ),
    _recipe("upernet_internimage_atto", _SMALL, 4_463_006, 4.05, None, _frame(320, 1280, 1), note=_OURS),
    _recipe("mask2former_internimage_atto", _SMALL_QUERIES, 4_144_227, 2.61, None, _frame(320, 1280, 1), note=_OURS),
    _ade20k("T", 512, 59_077_148, 235.9, (47.9, 48.1), "944G"),
    _ade20k("S", 512, 79_866_956, 254.1, (50.1, 50.9), "1017G"),
    _ade20k("B", 512, 128_387_852, 295.8, (50.8, 51.3), "1185G"),
    _ade20k("L", 640, 255_600_606, 630.6, (53.9, 54.1), "2526G"),
    _ade20k("XL", 640, 367_733_000, 784.4, (55.0, 55.3), "3142G"),
    _ade20k("H", 896, 1_120_338_396, 3568.4, (59.9, 60.3), "3566G"),
    _ade20k("G", 896, 3_112_678_316, 8950.9, None, None),
    _city("upernet_internimage_t_512x1024_160k_cityscapes", _UPERNET["T"], 59_077_148, 471.8, (82.58, 83.40), "1889G"),
    _city("upernet_internimage_s_512x1024_160k_cityscapes", _UPERNET["S"], 79_866_956, 508.1, (82.74, 83.45), "2035G"),
    _city("upernet_internimage_b_512x1024_160k_cityscapes", _UPERNET["B"], 128_387_852, 591.6, (83.18, 83.97), "2369G"),
    _city("segformer_internimage_l_512x1024_80k_mapillary", _SEGFORMER["L"], 219_870_024, 393.7, None, "1580G"),
    _city(
        "segformer_internimage_l_512x1024_160k_mapillary2cityscapes",
        _SEGFORMER["L"],
        219_870_024,
        393.7,
        (85.16, 85.67),
        "1580G",
    ),
    _city("upernet_internimage_l_512x1024_160k_cityscapes", _UPERNET["L"], 255_600_606, 807.2, (83.68, 84.41), "3234G"),
    _city("upernet_internimage_l_512x1024_80k_mapillary", _UPERNET["L"], 255_600_606, 807.2, None, "3234G"),
    _city(
        "upernet_internimage_l_512x1024_160k_mapillary2cityscapes",
        _UPERNET["L"],
        255_600_606,
        807.2,
        (85.94, 86.22),
        "3234G",
    ),
    _city("segformer_internimage_xl_512x1024_80k_mapillary", _SEGFORMER["XL"], 330_011_762, 589.6, None, "2364G"),
    _city(
        "segformer_internimage_xl_512x1024_160k_mapillary2cityscapes",
        _SEGFORMER["XL"],
        330_011_762,
        589.6,
        (85.41, 85.93),
        "2364G",
    ),
    _city(
        "upernet_internimage_xl_512x1024_160k_cityscapes", _UPERNET["XL"], 367_733_000, 1004.0, (83.62, 84.28), "4022G"
    ),
    _city("upernet_internimage_xl_512x1024_80k_mapillary", _UPERNET["XL"], 367_733_000, 1004.0, None, "4022G"),
    _city(
        "upernet_internimage_xl_512x1024_160k_mapillary2cityscapes",
        _UPERNET["XL"],
        367_733_000,
        1004.0,
        (86.20, 86.42),
        "4022G",
    ),
    _recipe(
        "mask2former_internimage_h_480_40k_nyu",
        _narrow(40),
        1_093_873_305,
        874.1,
        "nyu40",
        _frame(480, 640),
        (67.1, 68.1),
        "867G",
    ),
    _recipe(
        "mask2former_internimage_h_480_40k_pascal_context_59",
        _narrow(59),
        1_093_878_188,
        874.2,
        "pascal_context",
        _frame(520, 4096),
        (69.7, 70.3),
        "867G",
    ),
    _recipe(
        "mask2former_internimage_h_896x896_80k_mapillary",
        _narrow(19, 896),
        1_093_867_908,
        3042.1,
        "cityscapes",
        _frame(1024, 2048),
        None,
        "7878G",
        note="trained on Mapillary with the classes of Cityscapes",
    ),
    _recipe(
        "mask2former_internimage_h_1024x1024_80k_mapillary2cityscapes",
        _narrow(19, 1024),
        1_093_867_908,
        3972.8,
        "cityscapes",
        _frame(1024, 2048),
        (86.37, 86.96),
        "7878G",
    ),
    _recipe(
        "mask2former_internimage_h_512_40k_cocostuff164k_to_10k",
        _wide(171),
        1_313_517_660,
        1616.3,
        "coco_stuff",
        _frame(512),
        (59.2, 59.6),
        "1528G",
    ),
    _recipe(
        "mask2former_internimage_h_896_80k_cocostuff164k",
        _wide(171),
        1_313_517_660,
        4880.3,
        "coco_stuff",
        _frame(896),
        (52.6, 52.8),
        "4635G",
    ),
    _recipe(
        "mask2former_internimage_h_896_80k_cocostuff2ade20k",
        _wide(150),
        1_313_496_135,
        4880.3,
        "ade20k",
        _frame(896),
        (62.6, 62.9),
        "4635G",
        note="the score with several views takes --tta --tta-sides 768 832 896 960 1024",
    ),
    *(
        _recipe(
            f"{head}_flash_internimage_{size}_160k_ade20k{kind}",
            config,
            parameters,
            gmacs,
            "ade20k",
            _frame(int(size[2:]), multiple=multiple),
            score,
            released=score is not None,
            note="" if score else "the pixels' attention has no softmax; no weights were published",
        )
        for head, size, kind, multiple, config, parameters, gmacs, score in (
            ("upernet", "t_512", "", 1, _UPERNET["flash_T"], 58_974_252, 235.8, (49.3, 50.3)),
            ("upernet", "s_512", "", 32, _UPERNET["flash_S"], 79_854_572, 254.1, (50.6, 51.6)),
            ("upernet", "b_512", "", 32, _UPERNET["flash_B"], 128_374_980, 295.9, (52.0, 52.6)),
            ("upernet", "l_640", "", 32, _UPERNET["flash_L"], 255_562_876, 630.7, (55.6, 56.0)),
            (
                "mask2former",
                "t_512",
                "_ss",
                32,
                Mask2FormerConfig(_backbone("flash_T")),
                48_462_679,
                69.44,
                (51.2, None),
            ),
            ("mask2former", "s_640", "_ss", 32, _flash("S"), 71_550_743, 172.1, (52.6, None)),
            (
                "mask2former",
                "s_640",
                "_ss_nsmx",
                32,
                replace(_flash("S"), encoder_softmax=False),
                71_550_743,
                172.1,
                None,
            ),
            ("mask2former", "b_640", "_ss", 32, _flash("B"), 118_080_495, 236.5, (53.4, None)),
            ("mask2former", "l_640", "_ss", 32, _flash("L"), 242_282_407, 403.7, (56.7, None)),
        )
    ),
)
