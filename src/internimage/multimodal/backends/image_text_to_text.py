"""Any image-text-to-text model that transformers knows and the user has, behind our protocol.

Never the default and never counted as ours: every result names the model and this backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from internimage.errors import ConfigError, InputSizeError, MissingExtraError, NonFiniteError
from internimage.machine import choose_device
from internimage.multimodal.backends.describing import Told, check_question
from internimage.settings.decoding import DecodingOptions
from internimage.text.tower import refused

if TYPE_CHECKING:
    from PIL import Image

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_REQUEST = "Describe the picture in one sentence."


class ImageTextToText:
    """A model of ``transformers`` with its processor and chat template, see
    :class:`internimage.multimodal.backends.describing.Describer`.

    A score is the mean log-probability of the tokens, the last one included; beams are ordered by it.

    Args:
        source: a folder, or a name on the Hugging Face hub.  Weights are read from safetensors; code that comes with a
            model is not run.
        device: "auto", "cpu", "cuda" ...
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointReadError: nothing is there, it is damaged, or is another kind of model.
        UnsafeCheckpointError: the model is code of its own.
        ConfigError: it has no chat template, or there is no such device or dtype.
    """

    backend: str = "transformers"

    def __init__(self, source: str, *, device: str = "auto", dtype: str = "float32") -> None:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError("this needs transformers: pip install 'internimage[multimodal]'") from error
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype is {dtype!r}; expected {', '.join(_DTYPES)}")
        place = choose_device(device)
        self.name = source
        try:
            model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                source, dtype=_DTYPES[dtype], trust_remote_code=False, use_safetensors=True
            )
            processor: Any = transformers.AutoProcessor.from_pretrained(source, trust_remote_code=False)
        except Exception as error:  # transformers raises about any type there is
            raise refused(source, error, "an image-text-to-text model") from error
        if vars(processor).get("chat_template") is None:
            raise ConfigError(f"{source} has no chat template; expected a model that was tuned to follow instructions")
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"  # what is written goes on from the last token
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model, self.processor = model.to(place).eval(), processor

    def caption(self, pictures: Sequence[Image.Image], options: DecodingOptions) -> list[Told]:
        """One sentence for each picture."""
        return self._told(pictures, [_REQUEST] * len(pictures), options)

    def ask(self, pictures: Sequence[Image.Image], questions: Sequence[str], options: DecodingOptions) -> list[Told]:
        """The answer to one question for each picture.

        Raises:
            ConfigError: a question is empty or too long.
            InputSizeError: there are more or fewer questions than pictures.
        """
        if len(pictures) != len(questions):
            raise InputSizeError(f"{len(questions)} questions for {len(pictures)} pictures; expected one each")
        return self._told(pictures, [check_question(question) for question in questions], options)

    def _told(self, pictures: Sequence[Image.Image], requests: Sequence[str], options: DecodingOptions) -> list[Told]:
        if not pictures:
            return []
        inputs = self._inputs(pictures, requests)
        with torch.inference_mode(), torch.random.fork_rng(enabled=options.sample):
            if options.sample:
                torch.manual_seed(options.seed)
            found = self.model.generate(
                **inputs,
                **_how(options),
                max_new_tokens=options.longest,
                pad_token_id=self.processor.tokenizer.pad_token_id,
                output_logits=True,
                return_dict_in_generate=True,
            )
        written = found.sequences[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.batch_decode(written, skip_special_tokens=True)
        told = list(zip((" ".join(text.split()) for text in texts), self._scores(found, written), strict=True))
        each = options.beams
        groups = [told[each * number : each * (number + 1)] for number in range(len(pictures))]
        return [Told(*best, self.name, self.backend, tuple(others)) for best, *others in groups]

    def _inputs(self, pictures: Sequence[Image.Image], requests: Sequence[str]) -> Any:
        said = [
            [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": request}]}]
            for picture, request in zip(pictures, requests, strict=True)
        ]
        inputs = self.processor.apply_chat_template(
            said,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return inputs.to(self.model.device, self.model.dtype)

    def _scores(self, found: Any, written: Tensor) -> list[float]:
        chosen = self.model.compute_transition_scores(
            found.sequences, tuple(found.logits), found.get("beam_indices"), normalize_logits=True
        )
        ends = torch.tensor(self._ends(), device=written.device)
        ended = torch.isin(written, ends).int().cumsum(1)
        real = (ended - torch.isin(written, ends).int()) == 0  # up to the first end, which counts
        chosen = torch.where(real[:, : chosen.shape[1]], chosen.float(), 0.0)
        if not chosen.isfinite().all():
            raise NonFiniteError(f"{self.name}: its outputs are NaN or infinite; try --dtype float32 or bfloat16")
        return (chosen.sum(1) / real.sum(1)).tolist()

    def _ends(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        return [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends]


def _how(options: DecodingOptions) -> dict[str, Any]:
    if options.sample:
        return {
            "do_sample": True,
            "num_beams": 1,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": 0,
        }
    return {"do_sample": False, "num_beams": options.beams, "num_return_sequences": options.beams}
