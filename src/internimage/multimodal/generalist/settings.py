"""Settings of training a model that does several tasks.  No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from internimage.contracts import Amount
from internimage.errors import ConfigError
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.settings.classification import ClassificationAugmentation
from internimage.settings.detection import DetectionAugmentation
from internimage.settings.training import MANY, TrainingConfig

LEARNT = ("captions", "pairs", "questions", "masked", "names", "objects")
_SMALL = 64  # pixels
_UPDATES = 4_800  # of 32 pictures: half an hour of one core for the small model
_ASKED = 3  # questions of a picture, where a step has no other words of it


@dataclass(frozen=True)
class GeneralistAugmentation:
    """How pictures are shown in training, and how many steps each task has; a step learns one task.

    Attributes:
        captions, pairs, questions, masked, names, objects: how many steps each task has beside the others, of those
            that there are data for: writing captions, finding captions by pictures and pictures by captions, answering,
            guessing words hidden in captions, classes, and objects with boxes and masks.  Several data sets of a task
            share its steps by their pictures.
        label_smoothing, questions_each, mirror, min_scale: of pictures with words, see
            :class:`internimage.multimodal.describing.settings.WordsAugmentation`; 0 for ``questions_each`` is 3;
            ``min_scale`` of those with a class too.
        flip: probability that a picture with a class or objects is mirrored.
        short_sides, long, photometric: of pictures with objects, see
            :class:`internimage.settings.detection.DetectionAugmentation`.
        text_tower: folder, or name on the Hugging Face hub, of a trained text encoder to read with, in place of one
            that starts anew.
        text_tower_lr_scale: factor on the learning rate of a trained text encoder.
    """

    captions: float = 0.35
    pairs: float = 0.15
    questions: float = 0.25
    masked: float = 0.0
    names: float = 0.2
    objects: float = 0.25
    label_smoothing: float = 0.1
    questions_each: int = 0
    mirror: float = 0.0
    min_scale: float = 1.0
    flip: float = 0.5
    short_sides: tuple[int, ...] = (800,)
    long: int = 1333
    photometric: bool = False
    text_tower: str | None = None
    text_tower_lr_scale: float = 0.05

    def __post_init__(self) -> None:
        if self.text_tower is not None:
            object.__setattr__(self, "text_tower", str(self.text_tower))  # of a path too
        for name in LEARNT:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not any(getattr(self, name) for name in LEARNT):
            raise ConfigError(f"{', '.join(LEARNT)} are all 0: there is nothing to learn")
        if not self.text_tower_lr_scale > 0:
            raise ConfigError(f"text_tower_lr_scale is {self.text_tower_lr_scale}; expected a number above 0")
        self.words()
        self.boxes()

    def words(self) -> WordsAugmentation:
        """How pictures with words are shown; every task that a set has words for counts."""
        return WordsAugmentation(
            masked=float(self.masked > 0),
            label_smoothing=self.label_smoothing,
            questions_each=self.questions_each or _ASKED,
            mirror=self.mirror,
            min_scale=self.min_scale,
        )

    def pictures(self) -> ClassificationAugmentation:
        """How pictures with a class are shown."""
        return ClassificationAugmentation(
            min_scale=self.min_scale, flip=self.flip, rand_augment=0, colour_jitter=0, erasing=0
        )

    def boxes(self) -> DetectionAugmentation:
        """How pictures with objects are shown."""
        return DetectionAugmentation(self.short_sides, self.long, flip=self.flip, photometric=self.photometric)


def default_settings(amount: Amount) -> tuple[TrainingConfig, GeneralistAugmentation]:
    """Settings for an amount of pictures.

    Small ones from scratch were learnt better with AdamW and clipped gradients than with the paper's optimiser
    (docs/multimodal.md); the others' settings are the paper's and were not measured here.
    """
    scratch, images, small = amount.init == "scratch", max(1, amount.images), amount.size <= _SMALL
    quick = scratch and small
    epochs = max(1, min(100, round(_UPDATES * 32 / images)))
    training = TrainingConfig(
        epochs=epochs,
        optimizer="adamw" if quick else "task-balanced",
        batch_size=32 if images < MANY else 64,
        lr=1e-3 if quick else 1e-4,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        warmup_epochs=epochs / 20,
        backbone_lr_scale=1.0 if scratch else 0.1,
        drop_path=0.0 if small else 0.1,
        clip_norm=1.0 if quick else 0.0,
        ema_decay=0.999,
        evaluate_every=max(1, epochs // 3),
    )
    return training, resized(GeneralistAugmentation(flip=0.0 if small else 0.5), amount.size)


def resized(augmentation: GeneralistAugmentation, size: int) -> GeneralistAugmentation:
    """The same for pictures of another size: shorter sides about ``size``."""
    factor = size / max(augmentation.short_sides)
    sides = tuple(max(1, round(side * factor)) for side in augmentation.short_sides)
    return replace(augmentation, short_sides=sides, long=max(max(sides), round(augmentation.long * factor)))
