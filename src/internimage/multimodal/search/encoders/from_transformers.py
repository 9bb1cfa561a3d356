"""CLIP, SigLIP and their like, of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from internimage.errors import CheckpointReadError, ConfigError, MissingExtraError
from internimage.machine import choose_device
from internimage.multimodal.search.encoders.encoder import TRANSFORMERS, Array, fingerprint, normalised

if TYPE_CHECKING:
    from PIL import Image


class TransformersEncoder:
    """A model with ``get_image_features`` and ``get_text_features``.

    Args:
        name: ``transformers:`` and a folder, or a name on the Hugging Face Hub, from where it is fetched once.  Its
            weights are read from safetensors, and code that comes with it is not run.
        device: auto, cpu, cuda ...

    Raises:
        CheckpointReadError: it cannot be read.
        ConfigError: it makes no vectors of pictures and words.
        MissingExtraError: transformers is not installed.
    """

    def __init__(self, name: str, device: str) -> None:
        try:
            from transformers import AutoModel, AutoProcessor
        except ImportError as error:
            raise MissingExtraError(f"{name} needs transformers: pip install 'internimage[multimodal]'") from error
        place = name.removeprefix(TRANSFORMERS)
        if Path(place).expanduser().is_dir():
            place = str(Path(place).expanduser().resolve())
        try:
            model: Any = AutoModel.from_pretrained(
                place, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
            self._processor: Any = AutoProcessor.from_pretrained(place, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().split("\n")[0]
            raise CheckpointReadError(
                f"{name} cannot be loaded: {reason}; expected a folder that transformers wrote, with safetensors, or a "
                "name on its hub"
            ) from error
        if not {"get_image_features", "get_text_features"} <= set(dir(model)):
            raise ConfigError(
                f"{name} is a {type(model).__name__}, not a CLIP or SigLIP: it makes no vectors of pictures and words"
            )
        self._place = choose_device(device)
        self._model = model.to(self._place).eval()
        self.name, self.weights = TRANSFORMERS + place, fingerprint(model)
        # SigLIP learnt from sentences that are padded so; CLIP and its like do not see what is padded.
        self._words = int(model.config.text_config.max_position_embeddings)
        self.width = self.texts(["a picture"]).shape[1]

    def pictures(self, pictures: Sequence[Image.Image]) -> Array:
        inputs = self._processor(images=list(pictures), return_tensors="pt").to(self._place)
        return self._vectors(self._model.get_image_features, inputs)

    def texts(self, texts: Sequence[str]) -> Array:
        inputs = self._processor(
            text=list(texts), padding="max_length", max_length=self._words, truncation=True, return_tensors="pt"
        ).to(self._place)
        return self._vectors(self._model.get_text_features, inputs)

    @torch.inference_mode()
    def _vectors(self, features: Any, inputs: Any) -> Array:
        output = features(**inputs)
        rows = output if isinstance(output, torch.Tensor) else output.pooler_output
        return normalised(rows.float().cpu().numpy(), self.name)
