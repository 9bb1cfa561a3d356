"""Scores of captions, retrieval and answers: against goldens of the published tools, and these tools themselves."""

import json
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from internimage.errors import DataError, NonFiniteError
from internimage.multimodal.data.pairs import Question
from internimage.multimodal.metrics.answers import EXACT_RULE, VQA_RULE, AnswerScore, accuracy, normalised
from internimage.multimodal.metrics.captions import CaptionScore
from internimage.multimodal.metrics.retrieval import RetrievalScore, image_to_text, ranks, text_to_image
from internimage.multimodal.metrics.treebank import words

DATA = Path(__file__).parent / "data" / "multimodal"
CAPTIONS = json.loads((DATA / "caption_metrics.json").read_text(encoding="utf-8"))
VQA = json.loads((DATA / "vqa_eval.json").read_text(encoding="utf-8"))
RETRIEVAL = np.load(DATA / "retrieval.npz")
NAMES = {f"Bleu_{n}": f"bleu{n}" for n in range(1, 5)} | {"ROUGE_L": "rouge_l", "CIDEr": "cider"}
# what the published evaluation drops; the rest of the list is never met in lower case
STOPS = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}


def scored(rows: list[tuple[str, list[str]]], **options: Any) -> CaptionScore:
    score = CaptionScore(**options)
    for caption, references in rows:
        score.add(caption, references)
    return score


def random_rows(seed: int, pictures: int) -> list[tuple[str, list[str]]]:
    """Few words, so that runs of four are shared and words come twice; lengths 1 to 12."""
    random = np.random.default_rng(seed)
    letters = ["ab", "cd", "ef", "gh", "ij"]

    def sentence() -> str:
        return " ".join(random.choice(letters, random.integers(1, 13)))

    return [(sentence(), [sentence() for _ in range(random.integers(1, 6))]) for _ in range(pictures)]


def coco_mini(shared: Path) -> dict[int, list[str]]:
    """Captions of the validation pictures in ascending order of the ids."""
    content = json.loads((shared / "data/coco_mini/annotations/captions_val2017.json").read_bytes())
    found: dict[int, list[str]] = {image["id"]: [] for image in sorted(content["images"], key=lambda one: one["id"])}
    for one in sorted(content["annotations"], key=lambda one: one["id"]):
        found[one["image_id"]].append(one["caption"])
    return found


def test_words_are_those_of_the_java_tokeniser() -> None:
    golden = json.loads((DATA / "ptb_tokens.json").read_text(encoding="utf-8"))
    assert len(golden) == 52
    assert {text: words(text) for text, _ in golden} == dict(golden)


@pytest.mark.full
def test_words_are_those_of_the_java_tokeniser_live(shared: Path) -> None:
    import pycocoevalcap.tokenizer

    files = (shared / "data" / "coco_mini" / "annotations").glob("captions_*.json")
    captions = [one["caption"] for file in files for one in json.loads(file.read_bytes())["annotations"]]
    lines = [" ".join(caption.split()) for caption in captions]
    jar = Path(pycocoevalcap.tokenizer.__path__[0], "stanford-corenlp-3.4.1.jar")
    command = ["java", "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    told = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    expected = [[word for word in line.split() if word not in STOPS] for line in told.splitlines()]
    assert len(lines) == 795
    assert [words(line) for line in lines] == expected


@pytest.mark.parametrize("part", ["own", "single_image"])
def test_caption_scores_are_the_goldens(part: str) -> None:
    golden = CAPTIONS[part]
    score = scored([(golden["candidates"][key][0], told) for key, told in golden["references"].items()], meteor=False)
    numbers, each = score.compute(), score.per_picture()
    for theirs, ours in NAMES.items():
        assert numbers[ours] == pytest.approx(golden["scores"][theirs][0], rel=1e-9, abs=1e-12)
        assert each[ours] == pytest.approx(golden["scores"][theirs][1], rel=1e-9, abs=1e-12)


@pytest.mark.full
@pytest.mark.parametrize(("which", "shift"), [("own_image", 0), ("next_image", 1)])
def test_caption_scores_of_coco_mini_are_the_goldens(shared: Path, which: str, shift: int) -> None:
    """The candidate is the picture's first caption against its other four, or the next picture's against all."""
    captions, golden = list(coco_mini(shared).values()), CAPTIONS["coco_mini"][which]
    following = captions[shift:] + captions[:shift]
    rows = [(other[0], told[1:]) for told, other in zip(captions, following, strict=True)]
    score = scored(rows)
    numbers, each = score.compute(), score.per_picture()
    for theirs, ours in NAMES.items():
        assert numbers[ours] == pytest.approx(golden[theirs][0], rel=1e-9)
        assert each[ours][:12] == pytest.approx(golden[theirs][1], rel=1e-9, abs=1e-12)
    assert numbers["meteor"] == pytest.approx(golden["METEOR"][0], abs=1e-6)
    assert [line.partition(":")[0] for line in score.left_out] == ["SPICE"]


@pytest.mark.parametrize("seed", range(3))
def test_caption_scores_are_those_of_pycocoevalcap(seed: int) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    rows = random_rows(seed, 40)
    truth, given = dict(enumerate(row[1] for row in rows)), {number: [row[0]] for number, row in enumerate(rows)}
    score = scored(rows, meteor=False)
    numbers, each = score.compute(), score.per_picture()
    whole, lists = Bleu(4).compute_score(truth, given, verbose=0)
    expected = {f"bleu{n + 1}": (whole[n], lists[n]) for n in range(4)}
    expected |= {"rouge_l": Rouge().compute_score(truth, given), "cider": Cider().compute_score(truth, given)}
    for name, (total, pictures) in expected.items():
        assert numbers[name] == pytest.approx(total, rel=1e-9)
        assert each[name] == pytest.approx(pictures, rel=1e-9, abs=1e-12)


def test_caption_scores_of_several_processes_are_those_of_one() -> None:
    rows = random_rows(7, 12)
    whole, merged = scored(rows, meteor=False), CaptionScore(meteor=False)
    merged.merge([scored(rows[8:]).state(), scored(rows[:8]).state()])
    assert merged.compute() == whole.compute()
    assert CaptionScore().compute() == {}


def test_captions_without_words_or_references() -> None:
    score = scored([("", ["a dog"]), ("a dog", ["a dog"])], meteor=False)
    assert [score.per_picture()[name][0] for name in ("rouge_l", "cider")] == [0, 0]
    assert score.compute()["bleu1"] == pytest.approx(np.exp(1 - 4 / 2), rel=1e-6)  # every word right, half of them
    with pytest.raises(DataError, match="no captions to compare with"):
        score.add("a dog", [])


def test_scores_that_cannot_be_computed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    score = scored([("a dog", ["a dog"])])
    assert "meteor" not in score.compute()
    assert [line.partition(":")[0] for line in score.left_out] == ["METEOR", "SPICE"]
    assert "Java" in score.left_out[0]


@pytest.mark.parametrize("name", ["square", "five"])
def test_ranks_are_the_goldens(name: str) -> None:
    similarity, picture_of = RETRIEVAL[f"{name}.similarity"], RETRIEVAL[f"{name}.caption_image"]
    found = ranks(similarity, np.eye(similarity.shape[1]), picture_of)
    assert found.image_to_text.tolist() == RETRIEVAL[f"{name}.rank_i2t"].tolist()
    assert found.text_to_image.tolist() == RETRIEVAL[f"{name}.rank_t2i"].tolist()
    numbers = found.compute()
    for way in ("image_to_text", "text_to_image"):
        told = [100 * numbers[f"{way}_r{k}"] for k in (1, 5, 10)]
        told += [numbers[f"{way}_median_rank"], numbers[f"{way}_mean_rank"]]
        assert told == pytest.approx(RETRIEVAL[f"{name}.{way}"], rel=1e-12)
    recalls = [numbers[f"{way}_r{k}"] for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    assert numbers["mean_recall"] == pytest.approx(np.mean(recalls))


def test_of_equal_similarities_the_first_comes_first() -> None:
    similarity = RETRIEVAL["ties.similarity"]
    assert image_to_text(similarity, np.arange(3)).tolist() == RETRIEVAL["ties.rank"].tolist()
    assert text_to_image(similarity.T, np.arange(3)).tolist() == RETRIEVAL["ties.rank"].tolist()
    assert image_to_text(np.zeros((2, 4)), np.array([1, 0, 1, 0])).tolist() == [1, 0]


@pytest.mark.full
def test_recall_is_that_of_eccv_caption() -> None:
    from eccv_caption._metrics import recall_at_k

    random = np.random.default_rng(1)
    similarity, picture_of = random.normal(size=(30, 90)), np.repeat(np.arange(30), 3)
    rows, columns = np.argsort(-similarity, axis=1), np.argsort(-similarity, axis=0)
    numbers = ranks(similarity, np.eye(90), picture_of).compute()
    for k in (1, 5, 10):
        texts = [recall_at_k(rows[i].tolist(), set(np.flatnonzero(picture_of == i)), k) for i in range(30)]
        images = [recall_at_k(columns[:, j].tolist(), {picture_of[j]}, k) for j in range(90)]
        assert numbers[f"image_to_text_r{k}"] == pytest.approx(np.mean(texts))
        assert numbers[f"text_to_image_r{k}"] == pytest.approx(np.mean(images))


def test_many_similarities_are_compared_in_blocks() -> None:
    """11 million similarities: together with what is compared they would take 200 MB and more."""
    random = np.random.default_rng(2)
    pictures = random.integers(-3, 4, (1500, 6)).astype(np.float32)  # whole numbers: equal however they are added up
    captions = random.integers(-3, 4, (7500, 6)).astype(np.float32)
    picture_of = np.repeat(np.arange(1500), 5)
    tracemalloc.start()
    found = ranks(pictures, captions, picture_of)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6
    whole = pictures @ captions.T
    assert (found.image_to_text == image_to_text(whole, picture_of)).all()
    assert (found.text_to_image == text_to_image(whole, picture_of)).all()


def test_features_of_several_processes_and_folds() -> None:
    random = np.random.default_rng(3)
    features = [(random.normal(size=4), random.normal(size=(2, 4))) for _ in range(8)]
    whole, halves = RetrievalScore(), [RetrievalScore(), RetrievalScore()]
    for place, (picture, captions) in enumerate(features):
        whole.add(picture, captions, place)
        halves[place % 2].add(picture, captions, place)
    merged = RetrievalScore()
    merged.merge([half.state() for half in reversed(halves)])
    assert merged.compute() == whole.compute()
    folds = [RetrievalScore(), RetrievalScore()]
    for place, (picture, captions) in enumerate(features):
        folds[place // 4].add(picture, captions, place)
    expected = [fold.compute()["text_to_image_r1"] for fold in folds]
    assert whole.of_folds(4)["text_to_image_r1"] == pytest.approx(np.mean(expected))
    with pytest.raises(DataError, match="8 pictures cannot be divided into parts of 3"):
        whole.of_folds(3)


def test_ranks_refuse_what_would_seem_perfect() -> None:
    eye = np.eye(3)
    with pytest.raises(NonFiniteError, match="NaN"):
        ranks(eye * np.nan, eye, np.arange(3))
    with pytest.raises(DataError, match="picture 1 has no caption"):
        ranks(eye, eye, np.array([0, 2, 2]))
    with pytest.raises(DataError, match="each with its picture"):
        ranks(eye, eye, np.array([0, 1, 3]))
    with pytest.raises(DataError, match=r"expected \(D,\) and \(C, D\)"):
        RetrievalScore().add(np.zeros(3), np.zeros((0, 3)), 0)


def test_answers_are_normalised_as_the_goldens() -> None:
    assert {text: normalised(text) for text, _ in VQA["normalised"]} == dict(VQA["normalised"])
    table = {key: value for key, value in VQA["contractions"].items() if key == key.lower()}
    assert {key: normalised(key) for key in table} == table


def test_vqa_accuracy_is_the_goldens() -> None:
    score, halves = AnswerScore(), [AnswerScore(), AnswerScore()]
    for number, one in enumerate(VQA["questions"]):
        question = Question("?", tuple(one["answers"]), one["question_type"], one["answer_type"])
        assert 100 * score.add(one["result"], question) == pytest.approx(one["accuracy"], abs=0.005 + 1e-9)
        halves[number % 2].add(one["result"], question)
    golden = VQA["accuracy"]
    assert round(100 * score.compute()["accuracy"], 2) == golden["overall"]
    for found, told in ((score.per_kind(), "perQuestionType"), (score.per_answer_kind(), "perAnswerType")):
        assert {name: round(100 * value, 2) for name, (value, _) in found.items()} == golden[told]
        assert sum(count for _, count in found.values()) == len(VQA["questions"])
    merged = AnswerScore()
    merged.merge([half.state() for half in halves])
    assert merged.compute() == score.compute()


@pytest.mark.parametrize(
    ("given", "answers", "expected"),
    [
        (" Red ", ("red",), 1.0),
        ("the red", ("red",), 0.0),
        ("b", ("a",), 0.0),
        ("a", ("the",), 0.0),  # of ten people both would be nothing
        ("two", ("2", "two"), 1.0),
        ("yes", ("yes",) * 3 + ("no",) * 7, 0.9),
        ("2", ("two",) * 9 + ("many",), 1.0),
    ],
)
def test_answers_are_right_or_wrong_where_few_are_known(given: str, answers: tuple[str, ...], expected: float) -> None:
    assert accuracy(given, answers) == pytest.approx(expected)
    score = AnswerScore()
    score.add(given, Question("?", answers))
    assert score.rules() == {VQA_RULE if len(answers) == 10 else EXACT_RULE: 1}


def test_a_question_without_answers_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="no answers to compare with"):
        AnswerScore().add("red", Question("?"))
