"""The released classification models, and three small architectures of ours."""

from __future__ import annotations

from dataclasses import replace

from internimage.backbones.config import InternImageConfig
from internimage.checkpoints.hub import PackagedModel
from internimage.images.transforms import Preprocessing
from internimage.models.classifier import ClassifierConfig
from internimage.recipes.recipe import MeasuredScore, PublishedScore, Recipe, released_file

# Ours are trained from scratch on little data.  Without the masks' softmax, with random filters and batch norm, eight
# channels a group and linear layers that start at full size they learn in a fraction of the epochs (docs/training.md).
_ATTO = InternImageConfig(
    channels=32,
    depths=(2, 2, 4, 2),
    groups=(4, 8, 16, 32),
    norm_layer="batch",
    mask_softmax=False,
    random_filters=True,
    linear_std=None,
)
_ZEPTO = replace(_ATTO, channels=8, depths=(3, 3, 6, 3), groups=(1, 2, 4, 8))
_PICO = replace(_ATTO, channels=48, depths=(2, 2, 6, 2), groups=(6, 12, 24, 48))
_T = InternImageConfig(channels=64, depths=(4, 4, 18, 4), groups=(4, 8, 16, 32))
_S = InternImageConfig(channels=80, depths=(4, 4, 21, 4), groups=(5, 10, 20, 40), post_norm=True, layer_scale=1e-5)
_B = InternImageConfig(channels=112, depths=(4, 4, 21, 4), groups=(7, 14, 28, 56), post_norm=True, layer_scale=1e-5)
_L = InternImageConfig(
    channels=160,
    depths=(5, 5, 22, 5),
    groups=(10, 20, 40, 80),
    post_norm=True,
    layer_scale=1e-5,
    offset_scale=2.0,
)
_XL = InternImageConfig(
    channels=192,
    depths=(5, 5, 24, 5),
    groups=(12, 24, 48, 96),
    post_norm=True,
    layer_scale=1e-5,
    offset_scale=2.0,
)
_H = InternImageConfig(
    channels=320,
    depths=(6, 6, 32, 6),
    groups=(10, 20, 40, 80),
    res_post_norm=True,
    depthwise_kernel_size=5,
    center_feature_scale=True,
    post_norm_blocks=(5, 11, 17, 23, 29),
)
_G = InternImageConfig(
    channels=512,
    depths=(2, 2, 48, 4),
    groups=(16, 32, 64, 128),
    post_norm=True,
    depthwise_kernel_size=5,
    center_feature_scale=True,
    post_norm_blocks=(5, 11, 17, 23, 29, 35, 41, 47),
)

# FlashInternImage.  T has no depthwise convolution before its offsets; of the released ones only L has biases after its
# operators and MLPs.
_FLASH_ATTO = replace(_ATTO, layer="dcnv4")
_FLASH_T = replace(_T, layer="dcnv4", depthwise_kernel_size=None, output_bias=False, mlp_bias=False)
_FLASH_S = replace(_S, layer="dcnv4", output_bias=False, mlp_bias=False)
_FLASH_B = replace(_B, layer="dcnv4", output_bias=False, mlp_bias=False, offset_scale=0.5)
_FLASH_L = replace(_L, layer="dcnv4")

# Sizes, by the names that people know; the models of other tasks are built on them.
BACKBONES = {
    "zepto": _ZEPTO,
    "atto": _ATTO,
    "pico": _PICO,
    "T": _T,
    "S": _S,
    "B": _B,
    "L": _L,
    "XL": _XL,
    "H": _H,
    "G": _G,
    "flash_atto": _FLASH_ATTO,
    "flash_T": _FLASH_T,
    "flash_S": _FLASH_S,
    "flash_B": _FLASH_B,
    "flash_L": _FLASH_L,
}

_IMAGENET_1K = 1_000
_IMAGENET_22K = 21_841
_INATURALIST_18 = 8_142
_ACCURACY = "ImageNet-1K top-1"
_22K_NOTE = "21,841 classes; labels='imagenet1k' keeps the 1,000 of ImageNet-1K"


def _recipe(
    name: str,
    backbone: InternImageConfig,
    size: int,
    parameters: int,
    gmacs: float,
    *,
    num_classes: int = _IMAGENET_1K,
    labels: str | None = "imagenet1k",
    attention_pool: bool = False,
    metadata_channels: int | None = None,
    released: bool = True,
    packaged: bool = False,
    measured: MeasuredScore | None = None,
    hub_name: str | None = None,
    published: PublishedScore | None = None,
    note: str = "",
) -> Recipe:
    weights = released_file(name, backbone) if released else None
    return Recipe(
        name=name,
        task="classification",
        architecture="image_classifier",
        config=ClassifierConfig(
            backbone,
            num_classes,
            head="attention_pool" if attention_pool else "conv",
            metadata_channels=metadata_channels,
        ),
        preprocessing=Preprocessing(resize=size, crop=size),
        parameters=parameters,
        gmacs=gmacs,
        labels=labels,
        weights=PackagedModel(name) if packaged else weights,
        hub_name=hub_name,
        published=published,
        measured=measured,
        note=note,
    )


RECIPES = (
    _recipe(
        "internimage_atto",
        _ATTO,
        224,
        3_676_848,
        0.517,
        labels=None,
        released=False,
        note="ours, for CPUs and quick fine-tuning",
    ),
    _recipe(
        "internimage_pico",
        _PICO,
        224,
        8_953_444,
        1.341,
        labels=None,
        released=False,
        note="ours, for CPUs and quick fine-tuning",
    ),
    _recipe(
        "flash_internimage_atto",
        _FLASH_ATTO,
        224,
        3_674_680,
        0.518,
        labels=None,
        released=False,
        note="ours; internimage_atto learned more from little data",
    ),
    _recipe(
        "internimage_atto_clothing_128",
        _ATTO,
        128,
        3_295_698,
        0.1687,
        num_classes=10,
        labels=None,
        packaged=True,
        measured=MeasuredScore(
            "top-1 on 120 test photos of clothing",
            "python benchmarks/clothing.py",
            seeds=(71.7, 69.2, 75.0),
            shipped=75.0,
            peers={
                "flash_internimage_atto": (62.5, 67.5, 70.8),
                "timm convnext_atto": (43.3, 40.8, 43.3),
                "internimage_pico": (65.8, 67.5, 74.2),
                "torchvision resnet18": (73.3, 75.8, 72.5),
            },
        ),
        note="ours: ten kinds of clothes, trained on 500 CC0 photos; for demonstrations",
    ),
    _recipe(
        "internimage_t_1k_224",
        _T,
        224,
        29_918_424,
        4.865,
        hub_name="OpenGVLab/internimage_t_1k_224",
        published=PublishedScore(_ACCURACY, 83.5, "5G"),
    ),
    _recipe(
        "internimage_s_1k_224",
        _S,
        224,
        50_079_880,
        8.279,
        hub_name="OpenGVLab/internimage_s_1k_224",
        published=PublishedScore(_ACCURACY, 84.2, "8G"),
    ),
    _recipe(
        "internimage_b_1k_224",
        _B,
        224,
        97_461_832,
        16.145,
        hub_name="OpenGVLab/internimage_b_1k_224",
        published=PublishedScore(_ACCURACY, 84.9, "16G"),
    ),
    _recipe(
        "internimage_l_22k_192to384",
        _L,
        384,
        263_370_371,
        107.651,
        num_classes=_IMAGENET_22K,
        labels="imagenet22k",
        hub_name="OpenGVLab/internimage_l_22k_384",
        note=_22K_NOTE,
    ),
    _recipe(
        "internimage_l_22kto1k_384",
        _L,
        384,
        223_334_810,
        107.611,
        hub_name="OpenGVLab/internimage_l_22kto1k_384",
        published=PublishedScore(_ACCURACY, 87.7, "108G"),
    ),
    _recipe(
        "internimage_xl_22k_192to384",
        _XL,
        384,
        382_858_285,
        162.753,
        num_classes=_IMAGENET_22K,
        labels="imagenet22k",
        hub_name="OpenGVLab/internimage_xl_22k_384",
        note=_22K_NOTE,
    ),
    _recipe(
        "internimage_xl_22kto1k_384",
        _XL,
        384,
        334_819_780,
        162.705,
        hub_name="OpenGVLab/internimage_xl_22kto1k_384",
        published=PublishedScore(_ACCURACY, 88.0, "163G"),
    ),
    _recipe(
        "internimage_h_jointto22k_384",
        _H,
        384,
        1_105_663_489,
        536.979,
        num_classes=_IMAGENET_22K,
        labels="imagenet22k",
        attention_pool=True,
        hub_name="OpenGVLab/internimage_h_jointto22k_384",
        note=_22K_NOTE,
    ),
    _recipe(
        "internimage_h_22kto1k_384",
        _H,
        384,
        1_089_636_760,
        536.963,
        attention_pool=True,
        released=False,
        note="a published configuration without a published file",
    ),
    _recipe(
        "internimage_h_22kto1k_640",
        _H,
        640,
        1_089_636_760,
        1491.559,
        attention_pool=True,
        hub_name="OpenGVLab/internimage_h_22kto1k_640",
        published=PublishedScore(_ACCURACY, 89.6, "1478G"),
    ),
    _recipe(
        "internimage_h_22ktoinat18_384",
        _H,
        384,
        1_096_197_516,
        536.969,
        num_classes=_INATURALIST_18,
        labels=None,
        attention_pool=True,
        metadata_channels=64,
        published=PublishedScore("iNaturalist 2018 top-1", 92.6),
        note="also reads time and place of the photo (temporal, spatial); without them they count as unknown",
    ),
    _recipe(
        "internimage_g_pretrainto22k_384",
        _G,
        384,
        3_092_400_081,
        1524.349,
        num_classes=_IMAGENET_22K,
        labels="imagenet22k",
        attention_pool=True,
        hub_name="OpenGVLab/internimage_g_jointto22k_384",
        note=_22K_NOTE,
    ),
    _recipe(
        "internimage_g_22kto1k_512",
        _G,
        512,
        3_076_373_352,
        2709.924,
        attention_pool=True,
        hub_name="OpenGVLab/internimage_g_22kto1k_512",
        published=PublishedScore(_ACCURACY, 90.1, "2700G"),
    ),
    _recipe(
        "flash_intern_image_t_1k_224",
        _FLASH_T,
        224,
        29_815_528,
        4.85,
        published=PublishedScore(_ACCURACY, 83.6),
    ),
    _recipe(
        "flash_intern_image_s_1k_224",
        _FLASH_S,
        224,
        50_067_496,
        8.287,
        published=PublishedScore(_ACCURACY, 84.4),
    ),
    _recipe(
        "flash_intern_image_b_1k_224",
        _FLASH_B,
        224,
        97_448_960,
        16.16,
        published=PublishedScore(_ACCURACY, 84.9),
    ),
    _recipe(
        "flash_intern_image_l_22k_384",
        _FLASH_L,
        384,
        263_332_641,
        107.7,
        num_classes=_IMAGENET_22K,
        labels="imagenet22k",
        note=_22K_NOTE,
    ),
    _recipe(
        "flash_internimage_l_22kto1k_384",
        _FLASH_L,
        384,
        223_297_080,
        107.6,
        published=PublishedScore(_ACCURACY, 88.1),
    ),
)
