"""Learning from pictures with words as users do: words that are chosen, runs, numbers, captions, answers."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.perceivers import SMALL
from PIL import Image

import internimage as ii
from internimage.data.samples import EvaluationSample, Measured
from internimage.data.sampling.sampler import SampleKey
from internimage.errors import ConfigError, DataError
from internimage.images import ImageSource, Preprocessing
from internimage.multimodal.data.pairs import Described, Pairs, Question
from internimage.multimodal.describing.answers import known_answers, shares
from internimage.multimodal.describing.dataset import WordDataset
from internimage.multimodal.describing.evaluation import WordsReport
from internimage.multimodal.describing.pipeline import WordsPipeline
from internimage.multimodal.describing.settings import WordsAugmentation
from internimage.multimodal.models.uniperceiver import UniPerceiver
from internimage.multimodal.results.words import PictureWords
from internimage.multimodal.search.encoders.encoder import load_encoder
from internimage.multimodal.words.vocabulary import Vocabulary
from internimage.multimodal.world.writing import write_shapes
from internimage.settings.training import TrainingConfig
from internimage.text.clip import SPE, ClipTokenizer

pytestmark = pytest.mark.usefixtures("one_thread")
TOKENIZER = ClipTokenizer()
QUICK = TrainingConfig(
    track="none", epochs=2, batch_size=16, workers=0, warmup_epochs=0.5, lr=2e-3, drop_path=0.0, ema_decay=0.5
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("words") / "shapes"
    write_shapes(root, pictures=64, val_pictures=12, test_pictures=8)
    return root


@pytest.fixture(scope="module")
def trained(shapes: Path) -> ii.Run:
    return ii.train(shapes, model=replace(SMALL, vocabulary=()), size=32, training=QUICK, output=shapes.parent / "run")


def data_of(folder: Path, *words: Described) -> Pairs:
    """A picture whose left half is red, with each of these words."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16, 0] = 255
    Image.fromarray(pixels).save(folder / "half.png")
    return Pairs("halves", tuple(replace(one, file=folder / "half.png") for one in words))


def learnt_from(data: Pairs, augmentation: WordsAugmentation) -> WordDataset:
    words = {one for entry in data.entries for text in entry.captions for one in TOKENIZER.encode(text)}
    words |= {one for entry in data.entries for question in entry.questions for one in TOKENIZER.encode(question.text)}
    return WordDataset(data, Preprocessing(32, 32), augmentation, Vocabulary(sorted(words)), known_answers(data))


def test_mirrored_pictures_have_mirrored_words(tmp_path: Path) -> None:
    question = Question("what is left of the car", ("Left",))
    data = data_of(tmp_path, Described("", ("a star left of a ring, right?",), (question,)))
    data = replace(
        data,
        described=(*data.described, Described(data.described[0].file, ("right",), (Question("left", ("right",)),))),
    )
    plain, mirrored = (learnt_from(data, WordsAugmentation(mirror=share))[SampleKey(0, 0)] for share in (0.0, 1.0))
    torch.testing.assert_close(mirrored.image, plain.image.flip(-1))
    assert TOKENIZER.decode(mirrored.caption or []) == TOKENIZER.decode(
        TOKENIZER.encode("a star right of a ring, left?")
    )
    ((_, left),), ((asked, right),) = plain.questions, mirrored.questions
    assert TOKENIZER.decode(asked) == "what is right of the car"
    assert (left, right) == (0, 1)


@pytest.mark.parametrize(("each", "asked"), [(0, 1), (2, 2), (9, 3)])
def test_a_batch_asks_so_many_different_questions_of_a_picture(each: int, asked: int, tmp_path: Path) -> None:
    """Of four one has no answer."""
    questions = [Question(text, ("yes",) if text != "why" else ()) for text in ("who", "what", "when", "why")]
    data = data_of(tmp_path, Described("", (), tuple(questions)))
    sample = learnt_from(data, WordsAugmentation(questions_each=each))[SampleKey(0, 0)]
    texts = {TOKENIZER.decode(text) for text, _ in sample.questions}
    assert len(sample.questions) == len(texts) == asked
    assert texts <= {"who", "what", "when"}


def test_words_are_hidden_in_their_shares(tmp_path: Path) -> None:
    """Of whole words 0.15 are hidden, of which 80 % are SPE and 10 % another."""
    caption = "internationalization of a big red unbelievably long and boring sentence about wombats"
    data = data_of(tmp_path, Described("", (caption,)))
    dataset = learnt_from(data, WordsAugmentation(masked=1.0))
    ids, counts = TOKENIZER.encode(caption), Counter[str]()
    for epoch in range(400):
        sample = dataset[SampleKey(epoch, 0)]
        assert sample.caption == ids
        assert sample.masked is not None
        text, hidden = sample.masked
        for place, one in enumerate(hidden):
            assert one in (None, ids[place])
            assert one is not None or text[place] == ids[place]
            if place and not TOKENIZER.ends_word(ids[place - 1]):
                assert (one is None) == (hidden[place - 1] is None)  # whole words
            counts["hidden"] += one is not None
            counts["spe"] += one is not None and text[place] == SPE
    pieces = len(ids) - 1
    assert counts["hidden"] / (400 * pieces) == pytest.approx(0.16, abs=0.03)
    assert counts["spe"] / counts["hidden"] == pytest.approx(0.8, abs=0.06)


def test_answers_are_drawn_as_often_as_they_are_right(tmp_path: Path) -> None:
    """Of ten people six said two, two said Three!, one four, which nobody else knows: 1, 2/3, 0."""
    ten = ("2", "two", "two", "2", "Two", "two", "Three!", "3", "many", "many")
    data = data_of(tmp_path, Described("", (), (Question("how many cats", ten),)))
    assert known_answers(data) == ("2", "3", "many")
    assert shares(data.described[0].questions[0], {"2": 5, "3": 1}) == {5: 1.0, 1: pytest.approx(2 / 3)}
    dataset = learnt_from(data, WordsAugmentation())
    drawn = Counter(answer for epoch in range(300) for _, answer in dataset[SampleKey(epoch, 0)].questions)
    assert drawn[0] / 300 == pytest.approx(3 / 7, abs=0.09)
    assert drawn[1] / 300 == pytest.approx(2 / 7, abs=0.09)


def test_a_run_learns_is_measured_and_goes_on(shapes: Path, trained: ii.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # without Java, which takes ten seconds for METEOR
    first, second = (row["loss"] for row in trained.history)
    assert second < 0.95 * first
    report = ii.evaluate(shapes, trained.final, part="val")
    numbers = report.compute()
    for name in ("rouge_l", "mean_recall", "answers", "image_to_text_r10"):
        assert numbers[name] == pytest.approx(trained.history[-1][name])
    assert numbers["mean"] == pytest.approx((numbers["rouge_l"] + numbers["mean_recall"] + numbers["answers"]) / 3)
    assert {path.name for path in report.save(shapes.parent / "report")} == {"metrics.json", "captions.png"}
    more = ii.train(
        shapes, model=trained.best, init=str(trained.best), size=32, training=QUICK, output=shapes.parent / "more"
    )
    assert more.history[0]["loss"] < first


def test_the_same_seed_gives_the_same_numbers(shapes: Path, trained: ii.Run) -> None:
    again = ii.train(
        shapes, model=replace(SMALL, vocabulary=()), size=32, training=QUICK, output=shapes.parent / "again"
    )
    assert again.history == trained.history


def test_new_words_are_learnt_beside_the_old(trained: ii.Run, tmp_path: Path) -> None:
    model = ii.load_model(trained.best)
    assert isinstance(model, UniPerceiver)
    before = model.encode_texts([TOKENIZER.encode("a red star")])
    with pytest.raises(DataError, match="does not know 'zebra'"):
        model.encode_texts([TOKENIZER.encode("a zebra")])
    model.take_words(TOKENIZER.encode("a zebra"))
    torch.testing.assert_close(model.encode_texts([TOKENIZER.encode("a red star")]), before)
    assert model.encode_texts([TOKENIZER.encode("a zebra")]).isfinite().all()
    ii.save_model(model, tmp_path / "more")
    torch.testing.assert_close(ii.load_model(tmp_path / "more").encode_texts([TOKENIZER.encode("a red star")]), before)


def test_a_pipeline_follows_a_model_that_learns_and_says_what_it_cannot_read(shapes: Path, trained: ii.Run) -> None:
    model = ii.load_model(trained.best)
    pipeline, source = WordsPipeline(model), ImageSource("one", shapes / "pictures" / "000001.png")
    prepared = pipeline.prepare(pipeline.read(source))
    asked = Described(
        Path("x"),
        ("a red zebra", "a red star"),
        (Question("is the zebra large"), Question("how many shapes are there")),
    )
    (result,) = pipeline.predict([prepared], [source], [asked])
    assert result.unknown == 2
    assert result.captions is not None
    assert result.picture is not None
    texts = model.encode_texts([TOKENIZER.encode("a red"), TOKENIZER.encode("a red star")]).detach().numpy()
    np.testing.assert_allclose(result.captions, texts, atol=1e-6)
    image = prepared[None]
    np.testing.assert_allclose(result.picture, model.encode_pictures(image).detach().numpy()[0], atol=1e-6)
    answers = model.encode_texts([TOKENIZER.encode(one) for one in model.config.answers])
    right = model.answer(model.picture_tokens(image), [TOKENIZER.encode("how many shapes are there")], answers).argmax()
    assert result.answers[1] == model.config.answers[right]
    before = pipeline.targets()[0]
    with torch.no_grad():
        model.text.words.weight.mul_(-1)
    torch.testing.assert_close(pipeline.targets()[0], model.vocabulary_features())
    assert not torch.allclose(pipeline.targets()[0], before)  # type: ignore[arg-type]


def test_reports_add_up_what_was_said() -> None:
    """Three pictures: captions, features and answers made by hand; halves of the report merge to the whole."""
    data = Pairs(
        "made",
        (
            Described(Path("a"), ("a red star",), (Question("how many", ("two",), "how many"),)),
            Described(Path("b"), ("a blue ring", "one ring"), (Question("how many", ("one",), "how many"),)),
            Described(Path("c"), ("Three cyan stars.",), (Question("may we go", ("no",), "go"), Question("why"))),
        ),
    )
    axes = np.eye(3, dtype=np.float32)
    said = [
        ("a red star", axes[0], axes[:1], ("two",)),
        ("a blue star", axes[1], np.stack([axes[2], axes[1]]), ("two",)),
        ("three cyan stars", axes[2], axes[2:], ("no", "because")),
    ]
    whole, *halves = (WordsReport.on(data, meteor=False) for _ in range(3))
    for place, (caption, picture, captions, answers) in enumerate(said):
        source = ImageSource("x", Path("x.png"))
        result = PictureWords(source, caption, 0.5, answers, picture, captions)
        sample = EvaluationSample(data.entries[place], source, None, Measured(data.entries[place]))
        for report in (whole, halves[place % 2]):
            report.add(result, sample)
    numbers = whole.compute()
    assert numbers["exact"] == pytest.approx(2 / 3)
    assert numbers["answers"] == pytest.approx(2 / 3)
    assert whole.per_kind() == {"go": (1.0, 1), "how many": (0.5, 2)}
    assert numbers["image_to_text_r1"] == pytest.approx(2 / 3)  # a caption of b comes first for c as well
    assert numbers["text_to_image_r1"] == pytest.approx(3 / 4)
    merged = WordsReport.on(data, meteor=False)
    merged.merge([half.state() for half in halves])
    assert merged.compute() == numbers
    assert "answers judged: 3 by exact match" in whole.table()


def test_an_album_is_searched_in_words(shapes: Path, trained: ii.Run) -> None:
    """With the features that retrieval is measured by; what the model does not know is named."""
    encoder = load_encoder(str(trained.best), "cpu")
    pictures = [ImageSource("x", shapes / "pictures" / f"{number:06d}.png").read() for number in (1, 2, 3)]
    model = ii.load_model(trained.best)
    predicted = ii.Predictor(trained.best)(pictures)
    np.testing.assert_allclose(encoder.pictures(pictures), np.stack([one.picture for one in predicted]), atol=1e-5)
    texts = model.encode_texts([TOKENIZER.encode("a red star")]).detach().numpy()
    np.testing.assert_allclose(encoder.texts(["a red star"]), texts, atol=1e-5)
    with pytest.raises(DataError, match="does not know 'zebra'"):
        encoder.texts(["a zebra"])


def test_commands_say_what_a_model_sees(shapes: Path, trained: ii.Run, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(shapes / "pictures" / "000001.png")
    model = str(trained.folder)
    assert run(["caption", picture, "--model", model, "--json"]) == 0
    caption = json.loads(capsys.readouterr().out)
    assert caption["caption"] == ii.Predictor(trained.best)(picture).caption
    assert (caption["model"], caption["backend"]) == (model, "internimage")
    assert run(["ask", picture, "how many shapes are there", "--model", model, "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["answer"] in ii.load_model(trained.best).config.answers
    assert [asked["score"], *(one["score"] for one in asked["alternatives"])] == sorted(
        (asked["score"], *(one["score"] for one in asked["alternatives"])), reverse=True
    )


@pytest.mark.parametrize(
    ("question", "options", "message"),
    [
        ("is the zebra large", [], "does not know 'zebra'"),
        ("how many " * 40, [], "has 80 pieces of words; expected 21 or fewer"),
        ("how many", ["--beams", "2"], "sampling and beams are for captions"),
    ],
)
def test_questions_that_cannot_be_answered_are_named(
    question: str,
    options: list[str],
    message: str,
    shapes: Path,
    trained: ii.Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["ask", shapes / "pictures", question, "--model", trained.folder, *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captions": -1.0}, "captions is -1.0"),
        ({"captions": 0, "pairs": 0, "questions": 0}, "there is nothing to learn"),
        ({"label_smoothing": 1.0}, "are shares"),
        ({"questions_each": -1}, "questions_each is -1"),
    ],
)
def test_settings_that_cannot_be_are_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WordsAugmentation(**changes)
