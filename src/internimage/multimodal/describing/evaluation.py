"""A model of pictures and words, measured on pictures with known ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from internimage.drawing.canvas import BAD, GOOD, INK
from internimage.drawing.charts import contact_sheet
from internimage.images import show_image
from internimage.multimodal.data.pairs import Described, Pairs
from internimage.multimodal.metrics.answers import AnswerScore
from internimage.multimodal.metrics.captions import CaptionScore
from internimage.multimodal.metrics.retrieval import RetrievalScore
from internimage.multimodal.metrics.treebank import words
from internimage.multimodal.results.words import PictureWords
from internimage.writing import counted, json_text, save_picture, write_text

if TYPE_CHECKING:
    from internimage.data.samples import EvaluationSample

_SHOWN = 24
_MEAN = ("rouge_l", "mean_recall", "answers")  # those that model and data have
_NAMES = {
    **{"exact": "captions right word by word", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "meteor": "METEOR"},
    **{"image_to_text_r1": "R@1 text of picture", "text_to_image_r1": "R@1 picture of text"},
    **{"mean_recall": "mean of R@1, 5, 10", "answers": "answers"},
}


@dataclass
class WordsReport:
    """Captions, finding and answers of a model.

    Attributes:
        data: what it is measured on.
        captions, retrieval, answers: running scores.
        exact: of each caption, whether it is one of the known ones, word by word.
        unreadable: files left out.
        left_out: what else of the data was not measured, a line for each reason.
    """

    data: Pairs
    captions: CaptionScore
    retrieval: RetrievalScore = field(default_factory=RetrievalScore)
    answers: AnswerScore = field(default_factory=AnswerScore)
    exact: list[bool] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _unknown: int = 0
    _said: dict[int, str] = field(default_factory=dict)
    _places: dict[Described, int] = field(default_factory=dict)

    @classmethod
    def on(cls, data: Pairs, *, meteor: bool = True) -> WordsReport:
        """An empty report; METEOR needs Java and seconds."""
        places = {entry: place for place, entry in enumerate(data.entries)}
        return cls(data, CaptionScore(meteor=meteor), _places=places)

    def add(self, result: PictureWords, sample: EvaluationSample) -> None:
        """Count one picture; the truth is what the data says of it."""
        entry: Described = sample.entry
        place = self._places[entry]
        if entry.captions and result.caption is not None:
            self.captions.add(result.caption, entry.captions)
            self.exact.append(words(result.caption) in [words(one) for one in entry.captions])
            if len(self._said) < _SHOWN:
                self._said[place] = result.caption
        if result.picture is not None and result.captions is not None:
            self.retrieval.add(result.picture, result.captions, place)
        for question, said in zip(entry.questions, result.answers, strict=False):
            if question.answers:
                self.answers.add(said, question)
        self._unknown += result.unknown

    def state(self) -> Any:
        scores = (self.captions.state(), self.retrieval.state(), self.answers.state())
        return *scores, self.exact, self._unknown, self._said

    def merge(self, states: Sequence[Any]) -> None:
        captions, retrieval, answers, exact, unknown, said = zip(*states, strict=True)
        self.captions.merge(captions)
        self.retrieval.merge(retrieval)
        self.answers.merge(answers)
        self.exact = [one for part in exact for one in part]
        self._unknown = sum(unknown)
        self._said = {place: text for part in said for place, text in part.items()}

    def compute(self) -> dict[str, float]:
        """Captions' scores and "exact", retrieval's, "answers" and "questions"; "mean" of what there is of
        "rouge_l", "mean_recall" and "answers"."""
        numbers: dict[str, float] = {}
        if self.exact:
            numbers |= {"exact": sum(self.exact) / len(self.exact), **self.captions.compute()}
        numbers |= self.retrieval.compute()
        if len(self.answers):
            found = self.answers.compute()
            numbers |= {"answers": found["accuracy"], "questions": found["questions"]}
        known = [numbers[name] for name in _MEAN if name in numbers]
        return {"mean": sum(known) / len(known) if known else 0.0, **numbers, "images": float(len(self.data))}

    def notes(self) -> list[str]:
        """What was not measured, or otherwise than it might seem, a line each."""
        notes = list(self.left_out)
        if self.exact:
            notes += self.captions.left_out
        if self._unknown:
            notes.append(f"{counted(self._unknown, 'text')} with words that the model does not know, read without them")
        rules = ", ".join(f"{count} by {name}" for name, count in self.answers.rules().items())
        return [*notes, f"answers judged: {rules}"] if rules else notes

    def per_kind(self) -> Mapping[str, tuple[float, int]]:
        """Accuracy and number of the questions of each kind."""
        return self.answers.per_kind()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        kinds = {name: {"accuracy": share, "questions": count} for name, (share, count) in self.per_kind().items()}
        return {
            **self.compute(),
            "per_question_kind": kinds,
            "per_answer_kind": {name: share for name, (share, _) in self.answers.per_answer_kind().items()},
            "unreadable": self.unreadable,
            "notes": self.notes(),
        }

    def table(self) -> str:
        """The numbers as text."""
        numbers, kinds = self.compute(), self.per_kind()
        width = max((len(name) for name in kinds), default=0)
        lines = [f"{name:<{width}}  {share:>6.1%} of {count}" for name, (share, count) in kinds.items()]
        total = [f"{text} {numbers[name]:.1%}" for name, text in _NAMES.items() if name in numbers]
        total += [f"CIDEr {numbers['cider']:.3f}"] if "cider" in numbers else []
        lines += ["  ".join([*total, f"images {len(self.data)}"])]
        return "\n".join([*lines, *(f"left out: {name}" for name in self.unreadable), *self.notes()])

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write metrics.json, and captions.png with the first pictures; return their paths."""
        folder = Path(folder).expanduser()
        metrics, sheet = folder / "metrics.json", folder / "captions.png"
        write_text(metrics, json_text(self.to_dict(), indent=2) + "\n")
        if not self._said:
            return [metrics]
        pictures = []
        for place, said in sorted(self._said.items()):
            entry = self.data.entries[place]
            right = words(said) in [words(one) for one in entry.captions]
            pictures.append((show_image(entry.file), [(said, GOOD if right else BAD), (entry.captions[0], INK)]))
        save_picture(contact_sheet(pictures, title="What the model writes, and what people wrote"), sheet)
        return [metrics, sheet]
