"""Masks for boxes, as several commands take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

if TYPE_CHECKING:
    from internimage.inference.runner import Runner


@dataclass(frozen=True)
class MaskOptions:
    """Masks for a detector's boxes, from Segment Anything."""

    masks_from: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Detectors: masks for the boxes by sam, sam2, or another Segment Anything of transformers, by name or folder."""
    masks_above: Annotated[float | None, arg(metavar="SCORE", help_behavior_hint="(default: 0.05)")] = None
    """With --masks-from, leave out objects below this score; each costs time."""
    masks_quality: FlagCreatePairsOff[bool] = False
    """With --masks-from, multiply scores by the quality that a mask is expected to have."""

    def around(self, predictor: Runner, device: str) -> Runner:
        """A predictor whose objects have masks, if that is asked for."""
        from internimage.errors import ConfigError

        if self.masks_from is None:
            if self.masks_above is not None or self.masks_quality:
                raise ConfigError("--masks-above and --masks-quality belong to --masks-from")
            return predictor
        from internimage.integrations.masking import MaskedPredictor
        from internimage.integrations.segment_anything import SegmentAnything

        least = 0.05 if self.masks_above is None else self.masks_above
        masks = SegmentAnything.load(self.masks_from, device)
        return MaskedPredictor(predictor, masks, score_threshold=least, quality=self.masks_quality)


def masks_of(name: str) -> Any:
    """What makes masks of boxes in pictures, as :func:`internimage.data.converting.convert.convert_data` takes it."""
    from internimage.integrations.segment_anything import SegmentAnything

    model = SegmentAnything.load(name)
    return lambda picture, boxes: [mask.run_lengths() for mask in model.boxes(model.embed(picture), boxes).masks]
