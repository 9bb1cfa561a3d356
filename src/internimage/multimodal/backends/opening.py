"""From the name of a model to what it says of many pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from PIL import Image

from internimage.errors import ConfigError, ImageReadError
from internimage.factory import recipe_of
from internimage.images import ImageSource
from internimage.multimodal.backends.describing import Describer, Told, check_question
from internimage.registry import ARCHITECTURES, resolve
from internimage.settings.decoding import DecodingOptions

TRANSFORMERS = "transformers:"
"""Before the folder or name of a model that transformers runs."""


def open_describer(name: str, *, device: str = "auto", dtype: str = "float32") -> Describer:
    """What captions and answers, by the name or folder of a model of ours, or "transformers:FOLDER_OR_NAME".

    A model of ours comes from where its architecture's entry in the registry says (``describer``), a function of the
    same arguments.

    Raises:
        ConfigError: the model does neither.
        InternImageError: it cannot be read.
    """
    if name.startswith(TRANSFORMERS):
        from internimage.multimodal.backends.image_text_to_text import ImageTextToText

        return ImageTextToText(name.removeprefix(TRANSFORMERS), device=device, dtype=dtype)
    recipe = recipe_of(name)
    entry = ARCHITECTURES[recipe.architecture]
    if entry.describer is None:
        raise ConfigError(
            f"{name} neither captions nor answers questions; expected a model that does, or "
            "transformers:FOLDER_OR_NAME for an image-text-to-text model of your own"
        )
    described: Describer = resolve(entry.describer)(name, device=device, dtype=dtype)
    return described


def describe(
    model: str,
    sources: Iterable[ImageSource],
    questions: Sequence[str],
    options: DecodingOptions,
    *,
    batch_size: int = 8,
    device: str = "auto",
    dtype: str = "float32",
) -> Iterator[tuple[ImageSource, tuple[Told, ...] | ImageReadError]]:
    """Answers to each question for each picture, in order; a caption where there are no questions.

    A picture that cannot be read yields its error.

    Raises:
        ConfigError: a question or number that does not fit, or see :func:`open_describer`.
    """
    asked = [check_question(question) for question in questions]
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more")
    return _stream(open_describer(model, device=device, dtype=dtype), sources, asked, options, batch_size)


def _stream(
    describer: Describer, sources: Iterable[ImageSource], asked: Sequence[str], options: DecodingOptions, size: int
) -> Iterator[tuple[ImageSource, tuple[Told, ...] | ImageReadError]]:
    waiting = iter(sources)
    while batch := list(islice(waiting, size)):
        read = [_read(source) for source in batch]
        pictures = [one for one in read if not isinstance(one, ImageReadError)]
        rounds = []
        if pictures:
            rounds = [describer.ask(pictures, [question] * len(pictures), options) for question in asked]
            rounds = rounds or [describer.caption(pictures, options)]
        told = zip(*rounds, strict=True)
        for source, one in zip(batch, read, strict=True):
            yield source, one if isinstance(one, ImageReadError) else next(told)


def _read(source: ImageSource) -> Image.Image | ImageReadError:
    try:
        return source.read()
    except ImageReadError as error:
        return error
