"""The released UperNets and SegFormers of street scenes: Cityscapes and Mapillary.  One call is one model."""

from __future__ import annotations

from internimage.backbones.config import InternImageConfig
from internimage.images import FitPreprocessing
from internimage.recipes.backbones import XL, B, L, S, T, dense, released_file
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import CITYSCAPES, LARGE, MAPILLARY, MORE_CITIES, STREET, WHOLE_STREET, segmenter

_MIOU = "Cityscapes mIoU"
_COPIED_HEAD = (
    "150 outputs, of which the 19 of Cityscapes were trained; others may be predicted, as in the released code"
)
_MAPILLARY_NOTE = f"trained on Mapillary with the classes of Cityscapes; {_COPIED_HEAD}"


def _recipe(
    name: str,
    architecture: str,
    backbone: InternImageConfig,
    *,
    training: TrainingRecipe,
    published: PublishedScore | None,
    note: str = _COPIED_HEAD,
) -> Recipe:
    """A released segmenter with 150 outputs, for frames of 1024x2048 pixels."""
    return Recipe(
        name,
        "segmentation",
        architecture,
        {"backbone": dense(backbone)},
        FitPreprocessing(short=1024, long=2048),
        labels="cityscapes",
        weights=released_file(name, backbone),
        published=published,
        training=training,
        note=note,
    )


def _cityscapes(init: str, *, drop_path: float) -> TrainingRecipe:
    """160,000 updates on Cityscapes, with the settings of the small backbones."""
    return segmenter(
        init, images=CITYSCAPES, updates=160_000, evaluated=16_000, drop_path=drop_path, augmentation=STREET
    )


def _cityscapes_large(init: str) -> TrainingRecipe:
    """160,000 updates on Cityscapes."""
    return segmenter(
        init, images=CITYSCAPES, updates=160_000, evaluated=16_000, drop_path=0.4, augmentation=STREET, **LARGE
    )


def _mapillary(init: str) -> TrainingRecipe:
    """80,000 updates on Mapillary."""
    return segmenter(
        init, images=MAPILLARY, updates=80_000, evaluated=8_000, drop_path=0.4, augmentation=WHOLE_STREET, **LARGE
    )


def _more_cities(init: str) -> TrainingRecipe:
    """160,000 updates on Cityscapes with its coarsely labelled images, from a SegFormer trained on Mapillary."""
    return segmenter(
        init, images=MORE_CITIES, updates=160_000, evaluated=4_000, drop_path=0.4, augmentation=STREET, **LARGE
    )


INTERNIMAGE: tuple[Recipe, ...] = (
    _recipe(
        "upernet_internimage_t_512x1024_160k_cityscapes",
        "upernet",
        T,
        training=_cityscapes("internimage_t_1k_224", drop_path=0.2),
        published=PublishedScore(_MIOU, 82.58, "1889G", multi_scale=83.40),
    ),
    _recipe(
        "upernet_internimage_s_512x1024_160k_cityscapes",
        "upernet",
        S,
        training=_cityscapes("internimage_s_1k_224", drop_path=0.3),
        published=PublishedScore(_MIOU, 82.74, "2035G", multi_scale=83.45),
    ),
    _recipe(
        "upernet_internimage_b_512x1024_160k_cityscapes",
        "upernet",
        B,
        training=_cityscapes("internimage_b_1k_224", drop_path=0.4),
        published=PublishedScore(_MIOU, 83.18, "2369G", multi_scale=83.97),
    ),
    _recipe(
        "segformer_internimage_l_512x1024_80k_mapillary",
        "segformer",
        L,
        training=_mapillary("internimage_l_22k_192to384"),
        published=None,
        note=_MAPILLARY_NOTE,
    ),
    _recipe(
        "segformer_internimage_l_512x1024_160k_mapillary2cityscapes",
        "segformer",
        L,
        training=_more_cities("segformer_internimage_l_512x1024_80k_mapillary"),
        published=PublishedScore(_MIOU, 85.16, "1580G", multi_scale=85.67),
    ),
    _recipe(
        "upernet_internimage_l_512x1024_160k_cityscapes",
        "upernet",
        L,
        training=_cityscapes_large("internimage_l_22k_192to384"),
        published=PublishedScore(_MIOU, 83.68, "3234G", multi_scale=84.41),
    ),
    _recipe(
        "upernet_internimage_l_512x1024_80k_mapillary",
        "upernet",
        L,
        training=_mapillary("internimage_l_22k_192to384"),
        published=None,
        note=_MAPILLARY_NOTE,
    ),
    _recipe(
        "upernet_internimage_l_512x1024_160k_mapillary2cityscapes",
        "upernet",
        L,
        training=_more_cities("segformer_internimage_l_512x1024_80k_mapillary"),
        published=PublishedScore(_MIOU, 85.94, "3234G", multi_scale=86.22),
    ),
    _recipe(
        "segformer_internimage_xl_512x1024_80k_mapillary",
        "segformer",
        XL,
        training=_mapillary("internimage_xl_22k_192to384"),
        published=None,
        note=_MAPILLARY_NOTE,
    ),
    _recipe(
        "segformer_internimage_xl_512x1024_160k_mapillary2cityscapes",
        "segformer",
        XL,
        training=_more_cities("segformer_internimage_xl_512x1024_80k_mapillary"),
        published=PublishedScore(_MIOU, 85.41, "2364G", multi_scale=85.93),
    ),
    _recipe(
        "upernet_internimage_xl_512x1024_160k_cityscapes",
        "upernet",
        XL,
        training=_cityscapes_large("internimage_xl_22k_192to384"),
        published=PublishedScore(_MIOU, 83.62, "4022G", multi_scale=84.28),
    ),
    _recipe(
        "upernet_internimage_xl_512x1024_80k_mapillary",
        "upernet",
        XL,
        training=_mapillary("internimage_xl_22k_192to384"),
        published=None,
        note=_MAPILLARY_NOTE,
    ),
    _recipe(
        "upernet_internimage_xl_512x1024_160k_mapillary2cityscapes",
        "upernet",
        XL,
        training=_more_cities("segformer_internimage_xl_512x1024_80k_mapillary"),
        published=PublishedScore(_MIOU, 86.20, "4022G", multi_scale=86.42),
    ),
)
