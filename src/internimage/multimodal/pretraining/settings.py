"""Settings of pre-training, and those that suit an amount of data.  No torch."""

from __future__ import annotations

from dataclasses import dataclass

from internimage.contracts import Amount
from internimage.errors import ConfigError
from internimage.settings.training import MANY, TrainingConfig

_UPDATES = 20_000  # of 64 pictures at most
_EPOCHS = 300


@dataclass(frozen=True)
class ViewsAugmentation:
    """How much each target counts, and how the two views of a picture are made.

    What the data lacks is not learnt, whatever its weight.

    Attributes:
        intra: weight of predicting a picture's hidden cells.
        inter: weight of predicting another view of it.
        labels: weight of choosing its class.
        texts: weight of choosing its text.
        spread: weight of what keeps predictions of different pictures different.
        min_scale: smallest share of a picture's area that a view shows.
        flip: probability that a view is mirrored.
        colour: strength of changes of brightness, contrast and saturation, of half of the views.
    """

    intra: float = 1.0
    inter: float = 1.0
    labels: float = 1.0
    texts: float = 1.0
    spread: float = 0.05
    min_scale: float = 0.35
    flip: float = 0.5
    colour: float = 0.4

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("intra", "inter", "labels", "texts", "spread", "colour")}
        for name, weight in weights.items():
            if weight < 0:
                raise ConfigError(f"{name} is {weight}; expected 0 or more")
        if not (self.intra or self.inter or self.labels or self.texts):
            raise ConfigError("intra, inter, labels and texts are all 0: there is nothing to learn")
        if not (0 < self.min_scale <= 1 and 0 <= self.flip <= 1):
            raise ConfigError("min_scale and flip are shares: 0 to 1, min_scale more than 0")


def default_settings(amount: Amount) -> tuple[TrainingConfig, ViewsAugmentation]:
    """Settings for an amount of pictures; those for large amounts were not measured here.

    The weights that are kept are those of the backbone as it is; its moving average is the teacher's alone.
    """
    images = max(1, amount.images)
    size = 32 if images < MANY else 64
    epochs = max(3, min(_EPOCHS, round(_UPDATES * size / images)))
    training = TrainingConfig(
        epochs=epochs,
        batch_size=size,
        lr=1e-3 if amount.init == "scratch" else 2e-4,
        weight_decay=0.05,
        warmup_epochs=epochs / 20,
        drop_path=0.0,
        clip_norm=1.0,
        ema_decay=0.0,
        evaluate_every=max(1, epochs // 10),
    )
    return training, ViewsAugmentation()
