"""Pictures with words: every format, what is wrong in it, and whose data a folder is."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from internimage.data.recognition import find_format
from internimage.data.splits import SplitOptions, make_splits
from internimage.errors import ConfigError, DataError
from internimage.multimodal.data.checking import check_pairs
from internimage.multimodal.data.pairs import Described, Pairs, Question
from internimage.multimodal.data.reading import EXPECTED, estimate, read_parts, reads, recognise
from internimage.settings.data import DataOptions

DROP = DataOptions(bad_entries="drop", allow_left_out=True)
NUMBER = "000000000007"
LINE = {"file": "pictures/1.png", "captions": ["a red circle", "a circle"]}
ASKED = {"file": "pictures/2.png", "questions": [{"question": "what?", "answers": ["red", "blue"], "kind": "colour"}]}
IMAGES = [{"id": 7, "file_name": f"{NUMBER}.jpg"}, {"id": "b", "file_name": "b.jpg"}]
TOLD = [{"id": 1, "image_id": 7, "caption": " a dog "}, {"id": 2, "image_id": "b", "caption": "a cat"}]
SENTENCES = [{"raw": f"sentence {number}"} for number in range(6)]
ANSWERS = [{"answer": "yes", "answer_id": number} for number in range(10)]
VQA = {"question_id": 70, "image_id": 7, "question": "is it?"}
JUDGED = {"question_id": 70, "answers": ANSWERS, "question_type": "is it", "answer_type": "yes/no"}
BOX = {"images": IMAGES, "annotations": [{"id": 1, "image_id": 7, "bbox": [0, 0, 2, 2], "category_id": 1}]}
GQA = {"question": "what?", "answer": "dog", "imageId": "7", "types": {"structural": "query"}}
Files = dict[str, Any]


def lay(root: Path, files: Files) -> Path:
    """Files by their paths: None a picture, a text as it is, a list of lines for .jsonl, else JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (4, 4), (len(name), 0, 0)).save(path)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif path.suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, content)) + "\n", encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
    return root


LINES: Files = {"pictures/1.png": None, "pictures/2.png": None, "train.jsonl": [LINE, ASKED], "val.jsonl": [ASKED]}
FOLDER: Files = {"train/1.png": None, "train/metadata.jsonl": [{"file_name": "1.png", "text": "a dog"}]}
CAPTIONS: Files = {
    **{f"train2017/{NUMBER}.jpg": None, "train2017/b.jpg": None, "val2017/b.jpg": None},
    "annotations/captions_train2017.json": {"images": IMAGES, "annotations": TOLD},
    "annotations/captions_val2017.json": {"images": IMAGES[1:], "annotations": TOLD[1:]},
}
KARPATHY: Files = {
    **{f"val2014/{name}.jpg": None for name in "abc"},
    "dataset_coco.json": {
        "images": [
            {"filepath": "val2014", "filename": f"{name}.jpg", "split": split, "sentences": SENTENCES, "cocoid": number}
            for number, (name, split) in enumerate(zip("abc", ("train", "restval", "test"), strict=True))
        ]
    },
}
QUESTIONS: Files = {
    f"train2014/COCO_train2014_{NUMBER}.jpg": None,
    "test2015/COCO_test2015_000000000008.jpg": None,
    "v2_OpenEnded_mscoco_train2014_questions.json": {"questions": [VQA]},
    "v2_mscoco_train2014_annotations.json": {"annotations": [JUDGED]},
    "v2_OpenEnded_mscoco_test-dev2015_questions.json": {"questions": [VQA | {"image_id": 8}]},
}
GRAPHS: Files = {
    "images/7.jpg": None,
    "train_balanced_questions.json": {"070": GQA},
    "train_all_questions.json": {"071": GQA},
    "testdev_balanced_questions.json": {"072": {"question": "who?", "imageId": "7"}},
}
EASY: Files = {
    **{"train/images/0.png": None, "test/images/3.png": None, "answers.txt": "red\n"},
    **{"train/questions.json": [["what?", "red", 0], ["why?", "no", 0]], "test/questions.json": [["what?", "red", 3]]},
}
FLICKR: Files = {"images/1.jpg": None, "test.jsonl": [{"id": 5, "img_path": "images/1.jpg", "sentences": ["a", "b"]}]}
COCO_BOXES = {"annotations/instances_train2017.json": BOX | {"categories": [{"id": 1, "name": "dog"}]}}
TABLE = "file_name,caption\n1.png,a dog\nsub/2.png,a cat\n"


@pytest.mark.parametrize(
    ("files", "expected", "training"),
    [
        pytest.param(
            LINES,
            {"train": "JSON lines: 2 pictures, 2 captions, 1 question", "val": "JSON lines: 1 picture, 1 question"},
            2,
            id="lines",
        ),
        pytest.param(
            {"1.png": None, "pictures.jsonl": [{"file": "1.png", "caption": "a dog"}]},
            {"all": "JSON lines: 1 picture, 1 caption"},
            1,
            id="one file",
        ),
        pytest.param(FLICKR, {"test": "JSON lines: 1 picture, 2 captions"}, 0, id="Flickr lines"),
        pytest.param(FOLDER, {"train": "imagefolder: 1 picture, 1 caption"}, 1, id="imagefolder"),
        pytest.param(
            {"1.png": None, "sub/2.png": None, "metadata.csv": TABLE},
            {"all": "imagefolder: 2 pictures, 2 captions"},
            2,
            id="table",
        ),
        pytest.param(
            CAPTIONS,
            {"train": "COCO captions: 2 pictures, 2 captions", "val": "COCO captions: 1 picture, 1 caption"},
            2,
            id="COCO",
        ),
        pytest.param(
            KARPATHY,
            {
                "train": "Karpathy's split: 2 pictures, 10 captions",
                "test": "Karpathy's split: 1 picture, 5 captions",
            },
            2,
            id="Karpathy",
        ),
        pytest.param(
            QUESTIONS, {"train": "VQA: 1 picture, 1 question", "test-dev": "VQA: 1 picture, 1 question"}, 1, id="VQA"
        ),
        pytest.param(
            GRAPHS,
            {
                "train": "GQA: 1 picture, 1 question",
                "testdev_balanced_questions": "GQA: 1 picture, 1 question",
            },
            1,
            id="GQA",
        ),
        pytest.param(
            EASY, {"train": "easy-VQA: 1 picture, 2 questions", "test": "easy-VQA: 1 picture, 1 question"}, 1, id="easy"
        ),
    ],
)
def test_formats(tmp_path: Path, files: Files, expected: dict[str, str], training: int) -> None:
    lay(tmp_path, files)
    parts = read_parts(tmp_path, None, DataOptions())
    assert {name: f"{part.format}: {part.summary()}" for name, part in parts.items()} == expected
    assert all(isinstance(file, Path) and file.is_file() for part in parts.values() for file in part.files)
    assert recognise(tmp_path)
    assert estimate(tmp_path) == training
    wanted = list(expected)[-1]
    assert list(read_parts(tmp_path, wanted, DataOptions())) == [wanted]


def test_what_is_known_of_a_picture(tmp_path: Path) -> None:
    lay(tmp_path / "lines", LINES), lay(tmp_path / "vqa", QUESTIONS)
    one, two = read_parts(tmp_path / "lines", "train", DataOptions())["train"].described
    assert one == Described(tmp_path / "lines/pictures/1.png", ("a red circle", "a circle"))
    assert two.questions == (Question("what?", ("red", "blue"), "colour"),)
    parts = read_parts(tmp_path / "vqa", None, DataOptions())
    assert parts["train"].described[0].questions == (Question("is it?", ("yes",) * 10, "is it", "yes/no", 70),)
    assert parts["test-dev"].described[0].questions[0].answers == ()
    file = tmp_path / "vqa" / "v2_OpenEnded_mscoco_train2014_questions.json"
    assert read_parts(file, None, DataOptions())["all"].described == parts["train"].described


def test_one_picture_on_several_lines_is_one(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": None, "pictures.jsonl": [{"file": "a.png", "caption": text} for text in "xy"]})
    assert [one.captions for one in read_parts(tmp_path, None, DataOptions())["all"].described] == [("x", "y")]


def _lines(line: object) -> Files:
    return {**LINES, "train.jsonl": [LINE, line]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (LINES | {"train.jsonl": f"{json.dumps(LINE)}\n{{"}, "train.jsonl line 2 is not readable JSON"),
        (_lines(["a"]), r"train.jsonl line 2: expected object, got array; expected a line such as"),
        (_lines({"file": "pictures/2.png"}), "line 2: neither captions nor questions"),
        (_lines({"file": "pictures/2.png", "captions": [3]}), r"line 2: expected str, got int - at \$.captions\[0\]"),
        (_lines({"file": "pictures/2.png", "captions": "a dog"}), "line 2: expected array, got str"),
        (_lines({"file": "pictures/2.png", "captions": [" "]}), r'captions\[0\]: the caption is " "; expected a text'),
        (_lines({"file": "../2.png", "captions": ["a"]}), "line 2: the picture's name ../2.png leaves the folder"),
        (_lines({"file": "pictures/9.png", "captions": ["a"]}), "line 2: the picture pictures/9.png is in none of"),
        (_lines(ASKED | {"questions": [{"question": ""}]}), r'questions\[0\]: the question is ""; expected a text'),
        (_lines(ASKED | {"questions": [{"answer": "a"}]}), r"questions\[0\]: object missing required field question"),
        (FOLDER | {"train/metadata.jsonl": [{"file_name": "1.png", "text": None}]}, "line 1: the text is null"),
        (
            CAPTIONS
            | {"annotations/captions_train2017.json": {"images": IMAGES, "annotations": [TOLD[0] | {"image_id": 9}]}},
            r"annotations\[0\]: image_id 9 is the id of no image",
        ),
        (
            CAPTIONS | {"annotations/captions_train2017.json": {"images": 5, "annotations": TOLD}},
            "captions_train2017.json has no list 'images'",
        ),
        (
            {"annotations/captions_val2017.json": CAPTIONS["annotations/captions_val2017.json"]},
            "no picture is there; b.jpg is",
        ),
        (
            {**KARPATHY, "dataset_coco.json": {"images": [{"split": "dev", "sentences": SENTENCES}]}},
            r"images\[0\]: split is 'dev'; expected one of train, restval, val, test",
        ),
        (
            QUESTIONS | {"v2_mscoco_train2014_annotations.json": {"annotations": [JUDGED | {"question_id": 71}]}},
            r"questions\[0\]: question_id 70 has no annotation",
        ),
        (
            GRAPHS | {"train_balanced_questions.json": {"070": GQA | {"answer": 2}}},
            r"070: expected str | null, got int",
        ),
        (EASY | {"train/questions.json": [["what?", "red"]]}, r"questions\[0\]: expected array of length 3, got 2"),
        (EASY | {"train/questions.json": "{"}, "questions.json is not readable JSON"),
    ],
)
def test_broken_files_end_in_one_sentence(tmp_path: Path, files: Files, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_parts(lay(tmp_path, files), None, DataOptions())
    assert "\n" not in str(raised.value)


def test_bad_entries_are_dropped_where_that_is_asked_for(tmp_path: Path) -> None:
    lay(tmp_path, LINES | {"train.jsonl": [LINE, LINE | {"file": "pictures/9.png"}, LINE | {"captions": [""]}]})
    part = read_parts(tmp_path, "train", DROP)["train"]
    assert [one.captions for one in part.described] == [("a red circle", "a circle")]
    assert {(one.unit, one.count, one.total) for one in part.left_out} == {("pictures", 1, 3), ("captions", 1, 3)}


def test_two_files_of_one_part_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, LINES | {"training.jsonl": [LINE]})
    with pytest.raises(DataError, match=r"has train.jsonl and training.jsonl for train; name one"):
        read_parts(tmp_path, None, DataOptions())


@pytest.mark.parametrize(
    ("files", "words", "ours"),
    [
        pytest.param(LINES, True, True, id="lines beside what looks like a class"),
        pytest.param(CAPTIONS | COCO_BOXES, True, False, id="COCO with boxes"),
        pytest.param(COCO_BOXES | {"train2017/b.jpg": None}, False, False, id="COCO's boxes alone"),
        pytest.param({"cat/1.png": None, "dog/2.png": None}, False, False, id="class folders"),
        pytest.param(
            {"1.png": None, "metadata.jsonl": [{"file_name": "1.png", "text": "a dog", "label": "dog"}]},
            *(True, False),
            id="labels and texts",
        ),
        pytest.param(
            FOLDER | {"train.csv": "image,label\ntrain/1.png,dog\n"}, True, False, id="a table of labels beside texts"
        ),
        pytest.param({"train.jsonl": [{"text": "words alone"}], "a.png": None}, False, False, id="lines of text"),
        pytest.param({"images/a.png": None, "masks/a.png": None}, False, False, id="masks"),
        pytest.param({}, False, False, id="nothing"),
    ],
)
def test_whose_data_they_are(tmp_path: Path, files: Files, words: bool, ours: bool) -> None:
    lay(tmp_path, files)
    assert (reads(tmp_path), recognise(tmp_path)) == (words, ours)
    assert ours or not words or find_format(tmp_path) is not None  # nothing with words is nobody's


def test_what_has_no_words_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures with words; expected train"):
        read_parts(tmp_path, None, DataOptions())
    with pytest.raises(DataError, match="is not there"):
        read_parts(tmp_path / "no", None, DataOptions())
    assert all(name in EXPECTED for name in ("COCO captions", "Karpathy's split", "GQA", "easy-VQA"))
    with pytest.raises(ConfigError, match="--boxes corners is for objects in pictures"):
        read_parts(tmp_path, None, DataOptions(boxes="corners"))


def test_one_of_several_readings_is_named(tmp_path: Path) -> None:
    lay(tmp_path, CAPTIONS | QUESTIONS)
    first = read_parts(tmp_path, "train", DataOptions())["train"]
    assert first.format == "COCO captions"
    assert recognise(tmp_path)  # train2014 beside train2017, which others refuse
    assert first.notes[0] == "read as COCO captions; --reading vqa (VQA)"
    assert read_parts(tmp_path, "train", DataOptions(reading="vqa"))["train"].format == "VQA"
    with pytest.raises(ConfigError, match=r"--reading gqa: .* is read as captions \(COCO captions\) or vqa \(VQA\)"):
        read_parts(tmp_path, "train", DataOptions(reading="gqa"))


def test_pictures_are_set_aside_to_validate_on(tmp_path: Path) -> None:
    """Parts without classes are divided like others; a part of objects without any is still refused."""
    lines = [{"file": f"{'x' * number}.png", "caption": "a dog"} for number in range(1, 11)]
    lay(tmp_path, {line["file"]: None for line in lines} | {"pictures.jsonl": lines})
    splits = make_splits(read_parts(tmp_path, None, DataOptions()), tmp_path, SplitOptions(0.2))
    assert (len(splits.train), len(splits.val), splits.set_aside) == (8, 2, True)


def test_findings(tmp_path: Path) -> None:
    lay(tmp_path, {f"{number}.png": None for number in range(20)} | {"broken.png": "no picture"})
    described = [Described(tmp_path / f"{number}.png", ("a photo",)) for number in range(20)]
    described += [Described(tmp_path / "broken.png", ("...", "x" * 501)), Described(tmp_path / "gone.png", ("a cat",))]
    asked = Question("what?", ("red",)), Question("who?"), Question("why?", ("blue", "green"))
    found = check_pairs(Pairs("train", described))
    assert (found.pictures, found.captions, found.questions, found.errors) == (22, 23, 0, True)
    assert found.missing == [str(tmp_path / "gone.png")]
    assert list(found.corrupt) == [str(tmp_path / "broken.png")]
    assert found.repeated == {"a photo": 20}
    assert [len(found.wordless), len(found.long)] == [1, 1]
    other = check_pairs(Pairs("val", [Described(tmp_path / "0.png", (), asked)]))
    assert other.unanswered == [f"{tmp_path / '0.png'}: 'who?'"]
    lines = found.lines("train") + other.lines("val")
    assert lines[0] == "train: 22 pictures, 23 captions, 0 questions"
    assert f"  missing: {tmp_path / 'gone.png'}" in lines
    assert "  one caption of many pictures: 'a photo': 20" in lines
    assert not check_pairs(Pairs("clean", described[:3])).errors


@pytest.mark.full
def test_coco_mini_and_easy_vqa(shared: Path) -> None:
    import easy_vqa

    mini = shared / "data" / "coco_mini"
    parts = read_parts(mini, None, DataOptions())
    assert [part.summary() for part in parts.values()] == ["80 pictures, 400 captions", "79 pictures, 395 captions"]
    assert (reads(mini), recognise(mini)) == (True, False)
    shapes = Path(easy_vqa.__file__).parent / "data"
    parts = read_parts(shapes, None, DataOptions())
    assert sorted(len(part) for part in parts.values()) == [1000, 4000]
    train = [(one.text, one.answers[0], entry.id) for entry in parts["train"].described for one in entry.questions]
    assert sorted(train) == sorted(easy_vqa_rows(easy_vqa.get_train_questions()))
    assert recognise(shapes)


def easy_vqa_rows(columns: Any) -> list[tuple[str, str, int]]:
    return list(zip(*columns, strict=True))
