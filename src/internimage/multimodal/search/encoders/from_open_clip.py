"""Models of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from internimage.errors import CheckpointReadError, ConfigError, MissingExtraError
from internimage.machine import choose_device
from internimage.multimodal.search.encoders.encoder import OPEN_CLIP, Array, fingerprint, normalised

if TYPE_CHECKING:
    from PIL import Image

_WHOLE = ("hf-hub:", "local-dir:")  # places that hold architecture and weights
_SHOWN = 6


class OpenClipEncoder:
    """A model of open_clip.

    Args:
        name: ``open_clip:ARCHITECTURE:TAG``, fetched once from where open_clip says; ``open_clip:ARCHITECTURE:FILE``;
            ``open_clip:hf-hub:NAME`` or ``open_clip:local-dir:FOLDER``.  Pickled files are read as weights alone.
        device: auto, cpu, cuda ...

    Raises:
        CheckpointReadError: the weights cannot be read.
        ConfigError: there is no such architecture, or no weights are named.
        MissingExtraError: open_clip is not installed.
    """

    def __init__(self, name: str, device: str) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise MissingExtraError(f"{name} needs open_clip: pip install 'internimage[multimodal]'") from error
        given = name.removeprefix(OPEN_CLIP)
        architecture, _, weights = (given, "", "") if given.startswith(_WHOLE) else given.partition(":")
        if not given.startswith(_WHOLE):
            known = open_clip.list_models()
            if architecture not in known:
                raise ConfigError(f"open_clip has no {architecture}; it has {', '.join(known[:_SHOWN])} ...")
            if not weights:
                tags = open_clip.list_pretrained_tags_by_model(architecture)
                raise ConfigError(
                    f"{name} names no weights, and random ones find nothing; expected {name}:FILE"
                    + (f", or one of {', '.join(f'{name}:{tag}' for tag in tags[:_SHOWN])}" if tags else "")
                )
            if Path(weights).expanduser().is_file():
                weights = str(Path(weights).expanduser().resolve())
                given = f"{architecture}:{weights}"
        self._place = choose_device(device)
        try:
            model, self._prepare = open_clip.create_model_from_pretrained(
                architecture, pretrained=weights or None, device=self._place, weights_only=True
            )
            self._tokens: Any = open_clip.get_tokenizer(architecture)
        except Exception as error:  # open_clip raises about any type
            reason = (str(error).strip() or type(error).__name__).split("\n")[0]
            raise CheckpointReadError(f"{name} cannot be loaded: {reason}") from error
        self._model: Any = model.eval()
        self.name, self.weights = OPEN_CLIP + given, fingerprint(model)
        self.width = self.texts(["a picture"]).shape[1]

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        batch = torch.stack([self._prepare(picture) for picture in pictures]).to(self._place)
        return normalised(self._model.encode_image(batch).float().cpu().numpy(), self.name)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Array:
        tokens = self._tokens(list(texts)).to(self._place)
        return normalised(self._model.encode_text(tokens).float().cpu().numpy(), self.name)
