"""Segment Anything: masks from boxes and points, by transformers' SAM and SAM 2.

SAM: Kirillov et al., ICCV 2023, https://arxiv.org/abs/2304.02643.  SAM 2: Ravi et al., 2024,
https://arxiv.org/abs/2408.00714.  SAM sees a picture scaled to its longer side, in the upper left of a square; SAM 2
stretches it to a square.  Masks go back the same way: of SAM they are cut to the picture's size in the square before
they are scaled to the picture's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from internimage.errors import ConfigError, MissingExtraError
from internimage.machine import choose_device
from internimage.results.pasting import ObjectMask

NAMES: Mapping[str, str] = {"sam": "facebook/sam-vit-base", "sam2": "facebook/sam2.1-hiera-small"}
"""Short names of published models."""

_CLASSES = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPS = 1e-5  # of the norms in SAM's mask decoder
_AT_ONCE = 64  # boxes that are prompted together
_PIXELS = 1 << 26  # of all masks that are scaled together


class Prompted(NamedTuple):
    """Masks of prompts.

    Attributes:
        masks: one a prompt, no larger than what they cover.
        qualities: (K,) float32, the intersection over union that the model expects of each.
    """

    masks: tuple[ObjectMask, ...]
    qualities: np.ndarray[Any, Any]


class Embedded(NamedTuple):
    """A picture that was looked at, to be prompted any number of times.

    Attributes:
        features: of the model.
        size: (height, width) of the picture.
        inside: (height, width) that it has in the square.
    """

    features: Any
    size: tuple[int, int]
    inside: tuple[int, int]


class SegmentAnything:
    """Masks from boxes and points.

    Args:
        model: transformers' ``SamModel`` or ``Sam2Model``, or what behaves like one.
        device: see :class:`internimage.Predictor`; "auto" leaves it where it is.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, model: nn.Module, device: str = "auto") -> None:
        config: Any = model.config
        if config.model_type not in _CLASSES:
            raise ConfigError(f"a {config.model_type} makes no masks here; expected one of {', '.join(_CLASSES)}")
        if device != "auto":
            model = model.to(choose_device(device))
        self.model: Any = model.eval()
        self.stretched = config.model_type != "sam"
        vision = config.vision_config
        side = vision.backbone_config.image_size if self.stretched else vision.image_size
        self.side: int = side[0] if isinstance(side, list | tuple) else side

    @classmethod
    def load(cls, name: str, device: str = "auto") -> SegmentAnything:
        """A model by its short name, its name on the Hugging Face hub, or its folder; weights from safetensors alone.

        Raises:
            ConfigError: there is none, or it is of another kind.
            MissingExtraError: transformers is not installed.
        """
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError("masks need transformers: pip install 'internimage[transformers]'") from error
        place = NAMES.get(name, name)
        try:
            config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
            kind = config.model_type
            if kind not in _CLASSES:
                raise ConfigError(f"{name} is a {kind}; expected a model of Segment Anything: {', '.join(_CLASSES)}")
            changed = {}
            if kind == "sam":  # transformers' default is not what the weights were trained with
                config.mask_decoder_config.layer_norm_eps = _EPS
                changed = {"config": config}
            # SAM 2 is published as a model of videos, of which its model of pictures is a part
            build = getattr(transformers, _CLASSES[kind])
            model = build.from_pretrained(place, use_safetensors=True, trust_remote_code=False, **changed)
        except (OSError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            short = ", ".join(NAMES)
            raise ConfigError(
                f"{name} cannot be loaded: {error}; expected {short}, a name on the Hugging Face hub or a folder"
            ) from error
        return cls(model, str(choose_device(device)))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        place: torch.device = next(self.model.parameters()).device
        return place

    def prepare(self, picture: Image.Image) -> tuple[Tensor, tuple[int, int]]:
        """A picture (RGB) to (1, 3, side, side) float32, and the (height, width) that it has in there."""
        side = self.side
        if self.stretched:
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
            inside = side, side
        else:
            scale = side / max(picture.size)
            width, height = (int(length * scale + 0.5) for length in picture.size)
            inside = max(1, height), max(1, width)
            resized = picture.resize(inside[::-1], Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(one)[:, None, None] for one in (_MEAN, _STD))
        return F.pad((pixels - mean) / std, (0, side - inside[1], 0, side - inside[0])), inside

    @torch.inference_mode()
    def embed(self, picture: Image.Image) -> Embedded:
        """Look at a picture (RGB)."""
        pixels, inside = self.prepare(picture)
        weights = next(self.model.parameters())
        features = self.model.get_image_embeddings(pixels.to(weights))
        return Embedded(features, (picture.height, picture.width), inside)

    def boxes(self, seen: Embedded, boxes: np.ndarray[Any, Any]) -> Prompted:
        """A mask for each box.

        Args:
            seen: the picture.
            boxes: (K, 4), x1, y1, x2, y2 in its pixels.
        """
        prompts = torch.from_numpy(np.asarray(boxes, np.float32)).reshape(-1, 2, 2)
        return self._prompted(seen, prompts.flatten(1), "input_boxes", None)

    def points(self, seen: Embedded, points: np.ndarray[Any, Any], inside: Sequence[bool] | None = None) -> Prompted:
        """A mask for each group of points.

        Args:
            seen: the picture.
            points: (K, P, 2), x and y in its pixels: P points for each of K masks; or (K, 2), one for each.
            inside: of the P points, which belong to the object and which do not; None for all.

        Raises:
            ConfigError: they have another shape.
        """
        prompts = torch.from_numpy(np.asarray(points, np.float32))
        prompts = prompts[:, None] if prompts.dim() == 2 else prompts
        if prompts.dim() != 3 or prompts.shape[2] != 2 or (inside is not None and len(inside) != prompts.shape[1]):
            raise ConfigError(
                f"points are {tuple(np.shape(points))}; expected (masks, points, 2), and whether each point is inside"
            )
        labels = torch.ones(prompts.shape[1]) if inside is None else torch.tensor(inside).float()
        return self._prompted(seen, prompts, "input_points", labels)

    @torch.inference_mode()
    def _prompted(self, seen: Embedded, prompts: Tensor, kind: str, labels: Tensor | None) -> Prompted:
        """Prompts (K, ..., pairs of x and y), some at a time."""
        masks: list[ObjectMask] = []
        qualities: list[Tensor] = []
        scale = torch.tensor([seen.inside[1] / seen.size[1], seen.inside[0] / seen.size[0]])
        scaled = (prompts.unflatten(-1, (-1, 2)) * scale).flatten(-2)
        for some in scaled.split(_AT_ONCE) if len(scaled) else ():
            given = {kind: some[None].to(self.device)}
            if labels is not None:
                given["input_labels"] = labels.long().expand(1, len(some), -1).to(self.device)
            found = self.model(image_embeddings=seen.features, multimask_output=False, **given)
            qualities.append(found.iou_scores.reshape(len(some)).float().cpu())
            logits = found.pred_masks.reshape(len(some), 1, *found.pred_masks.shape[-2:]).float()
            at_once = max(1, _PIXELS // (seen.size[0] * seen.size[1]))
            for few in logits.split(at_once):
                masks += [_cut(mask) for mask in self._upright(few, seen).cpu().numpy()]
        empty = np.zeros(0, np.float32)
        return Prompted(tuple(masks), torch.cat(qualities).numpy() if qualities else empty)

    def _upright(self, logits: Tensor, seen: Embedded) -> Tensor:
        """Logits (K, 1, h, w) of the square to (K, H, W) bool of the picture."""
        if not self.stretched:
            logits = F.interpolate(logits, (self.side, self.side), mode="bilinear", align_corners=False)
            logits = logits[..., : seen.inside[0], : seen.inside[1]]
        return F.interpolate(logits, seen.size, mode="bilinear", align_corners=False)[:, 0] > 0


def _cut(mask: np.ndarray[Any, Any]) -> ObjectMask:
    """A bitmap (H, W) no larger than what it covers."""
    size = mask.shape[0], mask.shape[1]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return ObjectMask(np.zeros((0, 0), bool), 0, 0, size)
    top, left = int(rows[0]), int(columns[0])
    return ObjectMask(mask[top : rows[-1] + 1, left : columns[-1] + 1].copy(), top, left, size)
