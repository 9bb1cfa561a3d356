"""What captions and answers, whatever runs it.  No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from internimage.errors import ConfigError
from internimage.settings.decoding import DecodingOptions

if TYPE_CHECKING:
    from PIL import Image

LONGEST_QUESTION = 2_000
"""Characters."""


@dataclass(frozen=True)
class Told:
    """What a model says of a picture.

    Attributes:
        text: a caption or an answer.
        score: the mean log-probability of its tokens, or what else the backend says that it is; None without any.
        model, backend: who says so.
        alternatives: other texts with their scores, best first.
    """

    text: str
    score: float | None
    model: str
    backend: str
    alternatives: tuple[tuple[str, float | None], ...] = ()


class Describer(Protocol):
    """A model that captions pictures and answers questions about them.

    Attributes:
        name: of the model.
        backend: what runs it.
    """

    name: str
    backend: str

    def caption(self, pictures: Sequence[Image.Image], options: DecodingOptions) -> list[Told]:
        """One sentence for each picture, upright RGB."""
        ...

    def ask(self, pictures: Sequence[Image.Image], questions: Sequence[str], options: DecodingOptions) -> list[Told]:
        """The answer to one question for each picture.

        Raises:
            ConfigError: see :func:`check_question`.
        """
        ...


def check_question(question: str) -> str:
    """A question without blanks around it.

    Raises:
        ConfigError: it is empty, or longer than :data:`LONGEST_QUESTION`.
    """
    if not (asked := question.strip()):
        raise ConfigError("the question is empty; expected words, such as 'what colour is the light?'")
    if len(asked) > LONGEST_QUESTION:
        raise ConfigError(f"the question has {len(asked):,} characters; expected at most {LONGEST_QUESTION:,}")
    return asked
