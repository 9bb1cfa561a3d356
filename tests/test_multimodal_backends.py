"""What captions and answers: models of transformers against their own forward pass, commands from end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import describers
from helpers.commands import run
from PIL import Image

from internimage import registry
from internimage.errors import CheckpointReadError, ConfigError, InputSizeError, NonFiniteError, UnsafeCheckpointError
from internimage.multimodal.backends.describing import LONGEST_QUESTION, check_question
from internimage.multimodal.backends.image_text_to_text import ImageTextToText
from internimage.multimodal.backends.opening import open_describer
from internimage.settings.decoding import DecodingOptions

SHORT = DecodingOptions(longest=6)
PICTURES = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)) for seed in range(3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {make.__name__: make(root / make.__name__) for make in (describers.internvl, describers.llava)}


@pytest.fixture(scope="module", params=["internvl", "llava"])
def describer(request: pytest.FixtureRequest, folders: dict[str, Path]) -> ImageTextToText:
    opened = open_describer(f"transformers:{folders[request.param]}", device="cpu")
    assert isinstance(opened, ImageTextToText)
    return opened


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number, picture in enumerate(PICTURES):
        picture.resize((20 + number, 30)).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"no picture")
    return folder


def test_the_likeliest_words_and_their_score(describer: ImageTextToText) -> None:
    """Word by word with the whole sequence anew each time, without the library's own generation."""
    (told,) = describer.ask(PICTURES[:1], ["what is it ?"], SHORT)
    said = [
        {"role": "user", "content": [{"type": "image", "image": PICTURES[0]}, {"type": "text", "text": "what is it ?"}]}
    ]
    inputs = describer.processor.apply_chat_template(
        [said], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids, scores = inputs["input_ids"], []
    start = ids.shape[1]
    while len(scores) < 6 and (not scores or ids[0, -1] != 2):
        with torch.no_grad():
            logits = describer.model(input_ids=ids, pixel_values=inputs["pixel_values"]).logits[0, -1]
        scores.append(logits.log_softmax(-1).max().item())
        ids = torch.cat([ids, logits.argmax()[None, None]], 1)
    assert told.text == describer.processor.tokenizer.decode(ids[0, start:], skip_special_tokens=True)
    assert told.score == pytest.approx(np.mean(scores), abs=1e-4)
    assert (told.model, told.backend, told.alternatives) == (describer.name, "transformers", ())


def test_pictures_together_are_as_pictures_alone(describer: ImageTextToText) -> None:
    questions = ["what is it ?", "is the picture w7 w8 w9 w10 ?", "what ?"]
    together = describer.ask(PICTURES, questions, SHORT)
    alone = [describer.ask([one], [asked], SHORT)[0] for one, asked in zip(PICTURES, questions, strict=True)]
    assert [one.text for one in together] == [one.text for one in alone]
    np.testing.assert_allclose([one.score for one in together], [one.score for one in alone], atol=1e-4)
    captions = describer.caption(PICTURES, SHORT)
    assert len({one.text for one in captions}) > 1  # the picture matters
    assert describer.caption([], SHORT) == []


def test_beams_are_ordered_and_find_no_less(describer: ImageTextToText) -> None:
    greedy = describer.caption(PICTURES, DecodingOptions(longest=4))
    found = describer.caption(PICTURES, DecodingOptions(beams=4, longest=4))
    for one, other in zip(found, greedy, strict=True):
        scores = [one.score, *(score for _, score in one.alternatives)]
        assert len(scores) == 4
        assert scores == sorted(scores, reverse=True)
        assert scores[0] >= other.score - 1e-4  # all random sentences here are of four words


def test_sampling_has_a_seed_of_its_own(describer: ImageTextToText) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    texts = [describer.caption(PICTURES[:1], replace(SHORT, sample=True, seed=seed))[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)
    (greedy,) = describer.caption(PICTURES[:1], SHORT)
    (narrow,) = describer.caption(PICTURES[:1], replace(SHORT, sample=True, top_p=1e-6))
    assert narrow.text == greedy.text


def test_outputs_that_are_not_finite_are_an_error(folders: dict[str, Path]) -> None:
    broken = ImageTextToText(str(folders["llava"]), device="cpu")
    torch.nn.init.constant_(broken.model.get_output_embeddings().weight, float("nan"))
    with pytest.raises(NonFiniteError, match="llava: its outputs are NaN"):
        broken.caption(PICTURES[:1], SHORT)


def test_a_model_without_a_chat_template_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["llava"], tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="plain has no chat template"):
        ImageTextToText(str(tmp_path / "plain"), device="cpu")


@pytest.mark.parametrize(
    ("config", "error", "match"),
    [
        ({"model_type": "internvl_chat", "auto_map": {"AutoConfig": "own.Own"}}, UnsafeCheckpointError, "ends in -hf"),
        ({"model_type": "bert"}, CheckpointReadError, "as an image-text-to-text model"),
        (None, CheckpointReadError, "there is no such folder"),
    ],
)
def test_other_checkpoints_are_refused(
    config: Any, error: type[Exception], match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    if config:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(error, match=match):
        open_describer(f"transformers:{folder}")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda one: check_question(" \n"), ConfigError, "the question is empty"),
        (lambda one: check_question("a" * 10**6), ConfigError, "has 1,000,000 characters; expected at most 2,000"),
        (lambda one: one.ask(PICTURES[:1], ["  "], SHORT), ConfigError, "the question is empty"),
        (lambda one: one.ask(PICTURES[:2], ["what ?"], SHORT), InputSizeError, "1 questions for 2 pictures"),
        (lambda one: ImageTextToText(one.name, dtype="int8"), ConfigError, "dtype is 'int8'"),
        (lambda one: open_describer("internimage_t_1k_224"), ConfigError, "neither captions nor answers"),
        (lambda one: DecodingOptions(beams=0), ConfigError, "beams is 0; expected 1 to 64"),
        (lambda one: DecodingOptions(longest=10**6), ConfigError, "longest is 1000000"),
        (lambda one: DecodingOptions(sample=True, beams=2), ConfigError, "exclude each other"),
        (lambda one: DecodingOptions(sample=True, temperature=0.0), ConfigError, "temperature is 0.0"),
        (lambda one: DecodingOptions(sample=True, temperature=float("nan")), ConfigError, "temperature is nan"),
        (lambda one: DecodingOptions(sample=True, top_p=1.5), ConfigError, "top_p is 1.5"),
        (lambda one: DecodingOptions(sample=True, seed=-1), ConfigError, "seed is -1"),
        (lambda one: DecodingOptions(temperature=0.5), ConfigError, "belong to sampling"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(
    call: Any, error: type[Exception], match: str, describer: ImageTextToText
) -> None:
    with pytest.raises(error, match=match):
        call(describer)
    assert check_question(" " + "a" * LONGEST_QUESTION) == "a" * LONGEST_QUESTION


def test_commands_say_who_speaks(folders: dict[str, Path], album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", f"transformers:{folders['internvl']}", "--device", "cpu", "--longest", "3"]
    assert run(["caption", album, *model, "--json", "--beams", "2"]) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["0.png", "2.png"]
    for line in lines:
        assert list(line) == ["image", "caption", "score", "model", "backend", "alternatives"]
        assert (line["backend"], line["model"]) == ("transformers", str(folders["internvl"]))
        assert len(line["alternatives"]) == 1
        assert line["score"] >= line["alternatives"][0]["score"]
    assert "1 of 3 images could not be read" in said.err
    assert "1.png" in said.err


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture of ours that describes."""
    entry = replace(registry.ARCHITECTURES["image_classifier"], describer="helpers.describers:Sizes")
    monkeypatch.setitem(registry.ARCHITECTURES, "image_classifier", entry)


@pytest.mark.usefixtures("sizes")
def test_a_model_of_ours_comes_through_the_registry(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "internimage_t_1k_224", "--batch-size", "2"]
    assert run(["caption", album / "0.png", *model]) == 0
    assert capsys.readouterr().out == f"{album / '0.png'}: 20 by 30\n"
    assert run(["ask", f"{album}/*.png", " how large", "why ", *model, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(Path(line["image"]).name, line["question"], line["answer"]) for line in lines] == [
        ("0.png", " how large", "how large: 20 by 30"),
        ("0.png", "why ", "why: 20 by 30"),
        ("2.png", " how large", "how large: 22 by 30"),
        ("2.png", "why ", "why: 22 by 30"),
    ]
    assert {(line["model"], line["backend"], line["score"]) for line in lines} == {("sizes", "internimage", None)}


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ask", "0.png", "   "], "the question is empty"),
        (["ask", "0.png", "a" * 10**6], "the question has 1,000,000 characters"),
        (["ask", "0.png", "2.png", "why"], "2.png is a file, expected a question"),
        (["ask", "0.png"], "no question given"),
        (["caption"], "no image given"),
        (["caption", "0.png", "--top-p", "0.5"], "belong to sampling"),
        (["caption", "0.png", "--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_commands_refuse_in_one_sentence(
    arguments: list[str],
    expected: str,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(album)
    assert run([*arguments, "--model", "internimage_t_1k_224"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert len(said.err) < 300
    assert expected in said.err
