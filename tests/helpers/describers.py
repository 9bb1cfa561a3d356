"""Tiny image-text-to-text models with random weights, as folders, and one of a package outside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from internimage.multimodal.backends.describing import Told, check_question
from internimage.settings.decoding import DecodingOptions

_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>"]
_WORDS = ["describe", "the", "picture", "what", "is", "it", "USER", "ASSISTANT", ".", "?", ":"]
_TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE\n"
    "{% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT:"
)


def _tokenizer(**special: str) -> Any:
    words = [*_SPECIAL, *_WORDS]
    words += [f"w{number}" for number in range(128 - len(words))]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names, extra_special_tokens=special)
    tokenizer.add_special_tokens({"additional_special_tokens": _SPECIAL[4:]} if not special else {})
    return tokenizer


def _saved(model: Any, processor: Any, folder: Path) -> Path:
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)  # so that words depend on the picture
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def internvl(folder: Path) -> Path:
    """InternVL of one layer each; a picture is one token."""
    torch.manual_seed(0)
    text = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 2, "intermediate_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**vision, image_size=[28, 28], patch_size=[14, 14]),
        text_config=transformers.Qwen2Config(**text),
        image_token_id=5,
        image_seq_length=1,
        downsample_ratio=0.5,
    )
    tokenizer = _tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>"
    )
    size = {"height": 28, "width": 28}
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size=size, crop_to_patches=False),
        tokenizer,
        transformers.InternVLVideoProcessor(size=size),
        image_seq_length=1,
        chat_template=_TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    return _saved(transformers.InternVLForConditionalGeneration(config), processor, folder)


def llava(folder: Path) -> Path:
    """LLaVA with a vision tower of CLIP; a picture is four tokens."""
    torch.manual_seed(1)
    text = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision, image_size=28, patch_size=14),
        text_config=transformers.LlamaConfig(**text),
        image_token_index=4,
        image_seq_length=4,
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        _tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _saved(transformers.LlavaForConditionalGeneration(config), processor, folder)


class Sizes:
    """Says how large a picture is: a model of ours, as far as the commands can tell."""

    name, backend = "sizes", "internimage"

    def __init__(self, name: str, *, device: str, dtype: str) -> None:
        self.seen: list[int] = []

    def caption(self, pictures: Sequence[Image.Image], options: DecodingOptions) -> list[Told]:
        return [Told(f"{one.width} by {one.height}", None, self.name, self.backend) for one in pictures]

    def ask(self, pictures: Sequence[Image.Image], questions: Sequence[str], options: DecodingOptions) -> list[Told]:
        told = zip(self.caption(pictures, options), map(check_question, questions), strict=True)
        return [Told(f"{question}: {one.text}", None, self.name, self.backend) for one, question in told]
