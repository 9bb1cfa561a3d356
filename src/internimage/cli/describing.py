"""What `internimage caption` and `internimage ask` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from internimage.cli.common import FrameOptions, Reading, list_given, print_json

if TYPE_CHECKING:
    from internimage.settings.decoding import DecodingOptions


@dataclass(frozen=True)
class DescribeOptions:
    """Which model, where it runs, how it chooses words, and how the result is printed."""

    name: Annotated[str, arg(name="model", metavar="NAME")]
    """A model that describes pictures: its name or folder; or transformers:FOLDER_OR_NAME for any image-text-to-text
    model of your own or of the Hugging Face hub."""
    beams: Annotated[int, arg(metavar="N")] = 1
    """Follow N sentences at once and take the likeliest; 1 takes the likeliest word each time."""
    sample: FlagCreatePairsOff[bool] = False
    """Draw each word by its probability."""
    temperature: Annotated[float, arg(metavar="T")] = 1.0
    """With --sample: below 1 prefers likely words."""
    top_p: Annotated[float, arg(metavar="P")] = 1.0
    """With --sample: draw among the likeliest words that have this probability together."""
    seed: int = 0
    """With --sample: the same seed gives the same text."""
    longest: Annotated[int, arg(metavar="N")] = 64
    """Greatest number of tokens."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object per line, with score, alternatives, model and backend."""
    batch_size: int = 8
    """Pictures per forward pass."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights; half precision takes half the memory."""

    def run(self, images: Sequence[str], questions: Sequence[str], frames: FrameOptions) -> int:
        """Print what the model says of each picture; the exit status."""
        from internimage.errors import ConfigError
        from internimage.registry import DESCRIBE, resolve

        if not images:
            raise ConfigError("no image given; name files, folders, URLs or quoted patterns")
        options = self._decoding()
        reading = Reading(list_given(images), frames)
        places = {"batch_size": self.batch_size, "device": self.device, "dtype": self.dtype}
        stream = resolve(DESCRIBE)(self.name, reading.pictures(), questions, options, **places)
        for source, told in reading.good(stream, "describing"):
            for number, one in enumerate(told):
                self._print(source.name, questions[number] if questions else None, one)
        return reading.report()

    def _decoding(self) -> DecodingOptions:
        from internimage.settings.decoding import DecodingOptions

        return DecodingOptions(self.beams, self.sample, self.temperature, self.top_p, self.seed, self.longest)

    def _print(self, image: str, question: str | None, told: Any) -> None:
        if not self.json:
            print(f"{image}: {told.text}" if question is None else f"{image}: {question.strip()} {told.text}")
            return
        said = asdict(told)
        words = (
            {"caption": said.pop("text")} if question is None else {"question": question, "answer": said.pop("text")}
        )
        others = [{"text": text, "score": score} for text, score in said.pop("alternatives")]
        print_json({"image": image, **words, **said, "alternatives": others})
