"""The released segmenters of ADE20K, but for InternImage in Mask2Former.  One call is one model."""

from __future__ import annotations

from typing import Any

from internimage.images import FitPreprocessing
from internimage.recipes.backbones import FLASH_B, FLASH_L, FLASH_S, FLASH_T, XL, B, G, H, L, S, T, dense, released_file
from internimage.recipes.recipe import PublishedScore, Recipe, TrainingRecipe
from internimage.recipes.schedules import ADE20K, HUGE, LARGE, segmenter, square

_MIOU = "ADE20K mIoU"
_WIDER: dict[str, Any] = {"queries": 200, "encoder_width": 2048}  # Mask2Former on all but the smallest backbone


def _recipe(
    name: str,
    architecture: str,
    plain: dict[str, Any],
    *,
    side: int,
    training: TrainingRecipe,
    published: PublishedScore | None,
    multiple: int = 32,
    note: str = "",
) -> Recipe:
    """A segmenter of 150 classes for pictures whose shorter side has ``side`` pixels; with a score, it was released."""
    return Recipe(
        name,
        "segmentation",
        architecture,
        plain,
        FitPreprocessing(side, 4 * side, multiple=multiple),
        labels="ade20k",
        weights=released_file(name, plain["backbone"]) if published else None,
        published=published,
        training=training,
        note=note,
    )


def _160k(init: str, *, side: int, drop_path: float, evaluated: int = 16_000, **changes: Any) -> TrainingRecipe:
    """160,000 updates on crops of ``side`` x ``side`` pixels."""
    return segmenter(
        init,
        images=ADE20K,
        updates=160_000,
        evaluated=evaluated,
        drop_path=drop_path,
        augmentation=square(side),
        **changes,
    )


INTERNIMAGE: tuple[Recipe, ...] = (
    _recipe(
        "upernet_internimage_t_512_160k_ade20k",
        "upernet",
        {"backbone": dense(T)},
        side=512,
        training=_160k("internimage_t_1k_224", side=512, drop_path=0.2),
        published=PublishedScore(_MIOU, 47.9, "944G", multi_scale=48.1),
    ),
    _recipe(
        "upernet_internimage_s_512_160k_ade20k",
        "upernet",
        {"backbone": dense(S)},
        side=512,
        training=_160k("internimage_s_1k_224", side=512, drop_path=0.3),
        published=PublishedScore(_MIOU, 50.1, "1017G", multi_scale=50.9),
    ),
    _recipe(
        "upernet_internimage_b_512_160k_ade20k",
        "upernet",
        {"backbone": dense(B)},
        side=512,
        training=_160k("internimage_b_1k_224", side=512, drop_path=0.4),
        published=PublishedScore(_MIOU, 50.8, "1185G", multi_scale=51.3),
    ),
    _recipe(
        "upernet_internimage_l_640_160k_ade20k",
        "upernet",
        {"backbone": dense(L)},
        side=640,
        training=_160k("internimage_l_22k_192to384", side=640, drop_path=0.4, **LARGE),
        published=PublishedScore(_MIOU, 53.9, "2526G", multi_scale=54.1),
    ),
    _recipe(
        "upernet_internimage_xl_640_160k_ade20k",
        "upernet",
        {"backbone": dense(XL)},
        side=640,
        training=_160k("internimage_xl_22k_192to384", side=640, drop_path=0.4, **LARGE),
        published=PublishedScore(_MIOU, 55.0, "3142G", multi_scale=55.3),
    ),
    _recipe(
        "upernet_internimage_h_896_160k_ade20k",
        "upernet",
        {"backbone": H},
        side=896,
        training=_160k("internimage_h_jointto22k_384", side=896, drop_path=0.5, **HUGE),
        published=PublishedScore(_MIOU, 59.9, "3566G", multi_scale=60.3),
    ),
    _recipe(
        "upernet_internimage_g_896_160k_ade20k",
        "upernet",
        {"backbone": G},
        side=896,
        training=_160k("internimage_g_pretrainto22k_384", side=896, drop_path=0.5, **HUGE),
        published=None,
        note="no weights were published",
    ),
)

FLASH: tuple[Recipe, ...] = (
    _recipe(
        "upernet_flash_internimage_t_512_160k_ade20k",
        "upernet",
        {"backbone": dense(FLASH_T)},
        side=512,
        training=_160k("flash_intern_image_t_1k_224", side=512, drop_path=0.2),
        published=PublishedScore(_MIOU, 49.3, multi_scale=50.3),
        multiple=1,
    ),
    _recipe(
        "upernet_flash_internimage_s_512_160k_ade20k",
        "upernet",
        {"backbone": dense(FLASH_S)},
        side=512,
        training=_160k("flash_intern_image_s_1k_224", side=512, drop_path=0.3),
        published=PublishedScore(_MIOU, 50.6, multi_scale=51.6),
    ),
    _recipe(
        "upernet_flash_internimage_b_512_160k_ade20k",
        "upernet",
        {"backbone": dense(FLASH_B)},
        side=512,
        training=_160k("flash_intern_image_b_1k_224", side=512, drop_path=0.3),
        published=PublishedScore(_MIOU, 52.0, multi_scale=52.6),
    ),
    _recipe(
        "upernet_flash_internimage_l_640_160k_ade20k",
        "upernet",
        {"backbone": dense(FLASH_L)},
        side=640,
        training=_160k("flash_intern_image_l_22k_384", side=640, drop_path=0.4, **LARGE),
        published=PublishedScore(_MIOU, 55.6, multi_scale=56.0),
    ),
    _recipe(
        "mask2former_flash_internimage_t_512_160k_ade20k_ss",
        "mask2former",
        {"backbone": dense(FLASH_T)},
        side=512,
        training=_160k(
            "flash_intern_image_t_1k_224",
            side=512,
            drop_path=0.2,
            evaluated=5_000,
            lr=1e-4,
            layer_decay=0.9,
            clip_norm=0.01,
        ),
        published=PublishedScore(_MIOU, 51.2),
    ),
    _recipe(
        "mask2former_flash_internimage_s_640_160k_ade20k_ss",
        "mask2former",
        {"backbone": dense(FLASH_S), **_WIDER},
        side=640,
        training=_160k("flash_intern_image_s_1k_224", side=640, drop_path=0.3, evaluated=5_000, lr=1e-4, clip_norm=0.1),
        published=PublishedScore(_MIOU, 52.6),
    ),
    _recipe(
        "mask2former_flash_internimage_s_640_160k_ade20k_ss_nsmx",
        "mask2former",
        {"backbone": dense(FLASH_S), **_WIDER, "encoder_softmax": False},
        side=640,
        training=_160k("flash_intern_image_s_1k_224", side=640, drop_path=0.3, evaluated=5_000, lr=1e-4, clip_norm=0.1),
        published=None,
        note="the pixels' attention has no softmax; no weights were published",
    ),
    _recipe(
        "mask2former_flash_internimage_b_640_160k_ade20k_ss",
        "mask2former",
        {"backbone": dense(FLASH_B), **_WIDER},
        side=640,
        training=_160k("flash_intern_image_b_1k_224", side=640, drop_path=0.4, evaluated=5_000, lr=1e-4, clip_norm=0.1),
        published=PublishedScore(_MIOU, 53.4),
    ),
    _recipe(
        "mask2former_flash_internimage_l_640_160k_ade20k_ss",
        "mask2former",
        {"backbone": dense(FLASH_L), **_WIDER},
        side=640,
        training=_160k(
            "flash_intern_image_l_22k_384",
            side=640,
            drop_path=0.5,
            evaluated=2_000,
            lr=1e-4,
            layer_decay=0.94,
            clip_norm=0.1,
        ),
        published=PublishedScore(_MIOU, 56.7),
    ),
)
