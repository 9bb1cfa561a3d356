"""Settings that suit the amount of data, for those who bring nothing but a folder."""

from __future__ import annotations

from internimage.contracts import Amount
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.settings.training import MANY, TrainingConfig

_UPDATES = 4_700  # of 32 pictures: what the drawn world of docs/multimodal.md needs
_SMALL = 64  # pixels


def default_settings(amount: Amount) -> tuple[TrainingConfig, WordsAugmentation]:
    """Settings for an amount of pictures; those for large pictures were not measured here."""
    scratch, images = amount.init == "scratch", max(1, amount.images)
    epochs = max(3, min(100, round(_UPDATES * 32 / images)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=32 if images < MANY else 64,
        lr=2e-3 if scratch and amount.size <= _SMALL else 3e-4 if scratch else 5e-5,
        weight_decay=0.05,
        warmup_epochs=epochs / 20,
        drop_path=0.0 if amount.size <= _SMALL else 0.1,
        clip_norm=1.0,
        ema_decay=0.999,
        evaluate_every=max(1, epochs // 5),
    )
    return training, WordsAugmentation()
