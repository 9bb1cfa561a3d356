"""Pictures and words in training: batches and losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from internimage.errors import DataError
from internimage.multimodal.data.pairs import Pairs
from internimage.multimodal.describing.batch import Batch, collate
from internimage.multimodal.describing.dataset import WordSample
from internimage.multimodal.describing.evaluation import WordsReport
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.text.clip import ClipTokenizer

if TYPE_CHECKING:
    from internimage.contracts import Pipeline


class DescribingTask:
    """Captions, finding, answers.

    Args:
        answers: that the model chooses among.
        val: the validation part.
        augmentation: see there.
    """

    best = "mean"
    headline = ("rouge_l", "mean_recall", "answers")
    ragged = False

    def __init__(self, answers: Sequence[str], val: Pairs, augmentation: WordsAugmentation) -> None:
        self.val, self.augmentation = val, augmentation
        tokenizer = ClipTokenizer()
        self.choices = [tokenizer.encode(answer) for answer in answers]

    def collate(self, samples: Sequence[WordSample]) -> Batch:
        return collate(samples, self.augmentation, self.choices)

    def losses(self, losses: Callable[..., dict[str, Tensor]], batch: Batch) -> dict[str, Tensor]:
        if not any(vars(batch.targets).values()):
            raise DataError("none of the pictures of a batch has words to learn from; use larger batches")
        found = losses(batch.images, batch.targets)
        return {name: loss * getattr(self.augmentation, name) for name, loss in found.items()}

    def pipeline(self, model: Any, *, in_step: bool = False) -> Pipeline:
        return WordsPipeline(model)

    def report(self, pipeline: Pipeline) -> WordsReport:
        return WordsReport.on(self.val, meteor=False)
