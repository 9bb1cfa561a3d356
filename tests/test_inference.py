"""Predictor, features, drawing and the command line, on models small enough to run in a second."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image
from safetensors import safe_open

import internimage as ii
from internimage.drawing.canvas import with_bars
from internimage.drawing.charts import contact_sheet
from internimage.drawing.features import principal_components
from internimage.errors import ConfigError, DownloadError, ImageReadError
from internimage.inference.features import extract_features
from internimage.ops import implementation

CLASSES = ("cat", "cup", "rocket", "suit", "other")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return ii.create_model("internimage_atto", num_classes=len(CLASSES))


@pytest.fixture(scope="module")
def folder(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ii.save_model(model, tmp_path_factory.mktemp("model"), labels=CLASSES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, one in a sub-folder with a name that another has too, and one that is not a picture."""
    place = tmp_path_factory.mktemp("photos")
    (place / "more").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (60, 80)), ("b.png", (300, 200)), ("more/a.png", (64, 64))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(place / name)
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return place


def test_predictor_equals_the_steps_by_hand(folder: Path, photos: Path) -> None:
    predict = ii.Predictor(folder, batch_size=2)
    image = Image.open(photos / "b.png")
    logits = ii.load_model(folder)(predict.preprocessing(image)[None])
    result = predict(photos / "b.png")
    np.testing.assert_allclose(result.probabilities, logits.softmax(-1)[0].detach().numpy(), atol=1e-6)
    order = logits[0].argsort(descending=True).tolist()
    assert [scored.index for scored in result.top(5)] == order
    assert [scored.label for scored in result.top(2)] == [CLASSES[i] for i in order[:2]]
    assert result.label == CLASSES[order[0]]
    assert result.to_dict(1)["predictions"][0]["label"] == result.label


def test_every_way_to_name_images_gives_the_same_result(folder: Path, photos: Path) -> None:
    predict = ii.Predictor(folder, batch_size=2)
    path = photos / "a.png"
    array = np.array(Image.open(path))
    expected = predict(path).probabilities
    same: list[object] = [str(path), path.read_bytes(), Image.open(path), array, torch.from_numpy(array).movedim(-1, 0)]
    for source in same:
        np.testing.assert_array_equal(predict(source).probabilities, expected)  # type: ignore[call-overload]
    for many in ([path], str(photos / "a.*"), same, array[None]):
        results = predict(many)  # type: ignore[call-overload]
        assert isinstance(results, list)
        np.testing.assert_allclose(results[-1].probabilities, expected, atol=1e-6)


def test_a_stream_goes_on_after_a_bad_image_and_a_call_does_not(folder: Path, photos: Path) -> None:
    predict = ii.Predictor(folder, batch_size=2)
    outcome = {source.name: result for source, result in predict.stream(photos)}
    assert {Path(name).name: isinstance(r, ImageReadError) for name, r in outcome.items()} == {
        "a.png": False,
        "b.png": False,
        "broken.jpg": True,
    }
    assert len(outcome) == 4
    with pytest.raises(ImageReadError, match=r"broken\.jpg"):
        predict(photos)


@pytest.mark.parametrize(
    ("call", "error", "fragment"),
    [
        (lambda model, folder: ii.Predictor(model, checkpoint="x"), ConfigError, "given by name"),
        (lambda model, folder: ii.Predictor(folder, checkpoint="x"), ConfigError, "model folder"),
        (
            lambda model, folder: ii.Predictor(ii.create_model("internimage_atto", features_only=True)),
            ConfigError,
            "clas",
        ),
        (lambda model, folder: ii.Predictor("internimage_atto"), DownloadError, "no weights were published"),
        (lambda model, folder: ii.Predictor(model, batch_size=0)("x.png"), ConfigError, "batch_size"),
        (lambda model, folder: extract_features(model, "x.png", ["stage5"]), ConfigError, "stage5"),
        (lambda model, folder: extract_features(model, "x.png", ["stage3.block9"]), ConfigError, "stage3.block9"),
        (lambda model, folder: extract_features(torch.nn.ReLU(), "x.png"), ConfigError, "ReLU"),
    ],
)
def test_wrong_use(
    call: Callable[..., object], error: type[Exception], fragment: str, model: object, folder: Path
) -> None:
    with pytest.raises(error, match=fragment):
        call(model, folder)


def test_features_equal_the_model_s_own(model: torch.nn.Module, photos: Path) -> None:
    layers = ["pooled", "logits", "stage1", "stage4", "stage3.block2"]
    image = ii.Predictor(model).preprocessing(ii.read_image(photos / "a.png"))[None]
    with torch.no_grad():
        out = model.forward_intermediates(image)  # type: ignore[operator]
        backbone = model.backbone  # type: ignore[attr-defined]
        stage = backbone.stages[2]
        x = backbone.stages[1].downsample(out.maps[1].permute(0, 2, 3, 1))
        block = stage.blocks[1](stage.blocks[0](x))
    ((_, features),) = extract_features(model, photos / "a.png", layers)
    expected = (out.pooled, out.logits, out.maps[0], out.maps[3], block.permute(0, 3, 1, 2))
    for name, value in zip(layers, expected, strict=True):
        np.testing.assert_allclose(features[name], value[0].numpy(), atol=1e-5)  # type: ignore[index]
    ((_, averaged),) = extract_features(model, photos / "a.png", layers, average=True)
    np.testing.assert_allclose(averaged["stage1"], out.maps[0][0].mean((1, 2)).numpy(), atol=1e-5)  # type: ignore[index]


@pytest.mark.parametrize("name", ["small_mask", "small_composite", "small_upernet"])
def test_features_of_detectors_and_segmenters(name: str, photos: Path, small_recipes: None) -> None:
    """Their backbones' own maps, computed stage by stage; photos of two sizes in one batch."""
    torch.manual_seed(0)
    model: Any = ii.create_model(name)
    network: Any = list(model.backbone.backbones().values())[-1]
    layers = ["pooled", "stage1", "stage4", "stage3.block1"]
    images = [photos / "a.png", photos / "b.png"]
    prepare = ii.Predictor(model).preprocessing
    for path, (_, features) in zip(images, extract_features(model, images, layers, batch_size=2), strict=True):
        with torch.no_grad():
            if name == "small_composite":
                *_, maps = model.backbone.forward_branches(prepare(ii.read_image(path))[None])
            else:
                x, maps = model.backbone.stem(prepare(ii.read_image(path))[None]), []
                for stage in network.stages:
                    maps.append(stage(x))
                    x = stage.downsample(maps[-1]) if stage.downsample is not None else x
                np.testing.assert_allclose(features["stage1"], maps[0][0].permute(2, 0, 1).numpy(), atol=1e-4)  # type: ignore[index]
                maps = [one.permute(0, 3, 1, 2) for one in maps]
        np.testing.assert_allclose(features["stage4"], maps[-1][0].numpy(), atol=1e-4)  # type: ignore[index]
        np.testing.assert_allclose(features["pooled"], maps[-1][0].mean((1, 2)).numpy(), atol=1e-4)  # type: ignore[index]
    with pytest.raises(ConfigError, match="no layer is called logits; expected pooled, stage1"):
        extract_features(model, images, ["logits"])


def test_maps_of_different_sizes_need_averages(
    photos: Path, tmp_path: Path, small_recipes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ii.save_model(ii.create_model("small_mask"), tmp_path / "model")
    base: list[str | Path] = ["features", photos / "a.png", photos / "b.png", "--model", folder, "--layers", "stage4"]
    assert run([*base, "--output", tmp_path / "f.npz"]) == 1
    assert "give maps of different sizes; average them over space (--average)" in capsys.readouterr().err
    assert run([*base, "--average", "--output", tmp_path / "f.npz"]) == 0
    with np.load(tmp_path / "f.npz") as stored:
        assert stored["stage4"].shape == (2, 128)


def test_predict_command_prints_three_formats_and_saves_pictures(
    folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [photos / "a.png", photos / "b.png", photos / "more" / "a.png"]
    expected = [result.label for result in ii.Predictor(folder)(good)]
    base: list[str | Path] = ["predict", *good, "--model", folder]

    assert run([*base, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["predictions"][0]["label"] for line in lines] == expected
    assert [line["image"] for line in lines] == [str(path) for path in good]

    assert run([*base, "--csv", "--topk", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"] for row in rows if row["rank"] == "1"] == expected
    assert len(rows) == 2 * len(good)

    assert run([*base, "--save", tmp_path / "out"]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().err
    saved = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert saved == ["a.2.predicted.png", "a.predicted.png", "b.predicted.png"]


def test_a_folder_with_a_bad_image_is_finished_and_exits_with_one(
    folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", photos, "--model", folder, "--json"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert "broken.jpg" in captured.err
    assert "1 of 4" in captured.err
    target = tmp_path / "features.npz"
    assert run(["features", photos, "--model", folder, "--layers", "pooled", "stage2", "--output", target]) == 1
    with np.load(target, allow_pickle=False) as stored:
        assert stored["pooled"].shape == (3, 384)
        assert stored["stage2"].shape == (3, 64, 28, 28)
        assert [Path(name).name for name in stored["images"]] == ["a.png", "b.png", "a.png"]


def test_files_of_a_folder_that_are_not_read_are_said(
    folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(photos / "a.png", tmp_path / "new")
    for name in ("1.HEIC", "2.heic", "3.txt"):
        (tmp_path / "new" / name).touch()
    said = f"internimage: {tmp_path}/new: 3 files are not read: 2 .heic, 1 .txt; convert .heic to JPEG"
    for command in (["predict"], ["features", "--output", tmp_path / "f.npz"]):
        assert run([*command, tmp_path / "new", photos / "a.png", "--model", folder]) == 0
        assert capsys.readouterr().err.count(said) == 1


def test_features_command_writes_safetensors(folder: Path, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "features.safetensors"
    assert run(["features", photos / "a.png", "--model", folder, "--average", "--output", target]) == 0
    with safe_open(target, "np") as stored:
        assert stored.get_tensor("pooled").shape == (1, 384)
        assert json.loads(stored.metadata()["images"]) == [str(photos / "a.png")]


@pytest.mark.parametrize(
    ("arguments", "status", "fragment"),
    [
        (
            ["predict", "x.jpg", "--model", "internimage_x"],
            1,
            "'internimage_x', and there is no such folder",
        ),
        (["predict"], 1, "no image given"),
        (["predict", "x.jpg", "--json", "--csv"], 1, "choose one"),
        (["predict", "x.jpg", "--topk", "0"], 1, "--topk"),
        (["predict", "x.jpg", "--model", ""], 1, "--model is empty; expected a value"),
        (["train", "--data="], 1, "--data is empty; expected a value"),
        (["train", "--data", "x", "--size", "1"], 1, "size is 1; expected 32 pixels or more"),
        (["train", "--label-smoothing", "1"], 1, "label_smoothing is 1"),
        (["predict", "nowhere/*.jpg"], 1, "no file matches"),
        (["predict", "x.jpg", "--checkpoint", "missing.pth"], 1, "missing.pth does not exist"),
        (["features", "x.jpg", "--output", "x.txt"], 1, "unknown suffix"),
        (["convert", "missing.pth", "out"], 1, "does not exist"),
        (["models", "resnet*"], 1, "no model matches"),
        (["predict", "x.jpg", "--batch-size", "many"], 2, "many"),
        (["fly"], 2, "fly"),
    ],
)
def test_mistakes_on_the_command_line_end_in_one_message(
    arguments: list[str], status: int, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(list(arguments)) == status
    captured = capsys.readouterr()
    assert fragment in captured.err + captured.out
    assert "Traceback" not in captured.err + captured.out


def test_models_command_lists_what_the_recipes_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "*_22kto1k_*", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in listed] == ii.list_models("*_22kto1k_*")
    assert all(row["parameters"] and row["gmacs"] and row["config"]["num_classes"] == 1000 for row in listed)
    assert {row["name"]: row["published"]["value"] for row in listed if row["published"]} == {
        "internimage_l_22kto1k_384": 87.7,
        "internimage_xl_22kto1k_384": 88.0,
        "internimage_h_22kto1k_640": 89.6,
        "internimage_g_22kto1k_512": 90.1,
        "flash_internimage_l_22kto1k_384": 88.1,
    }
    assert run(["models"]) == 0
    table = capsys.readouterr().out
    assert [name for name in ii.list_models() if name not in table] == []


def test_convert_and_doctor_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ii.save_model(ii.create_model("internimage_t_1k_224", num_classes=2), tmp_path / "model")
    assert run(["convert", folder, tmp_path / "x.pth", "--layout", "official"]) == 0
    assert str(tmp_path / "x.pth") in capsys.readouterr().out
    assert "patch_embed.conv1.weight" in torch.load(tmp_path / "x.pth", weights_only=True)["model"]
    assert run(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["torch"] == torch.__version__.split("+")[0]
    assert findings["operators on cpu"].startswith(implementation("cpu").name)
    assert findings["operators in ONNX Runtime"].startswith(("compiled: ", "standard: "))


def test_features_command_draws_maps(folder: Path, photos: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = ["features", photos / "b.png", "--model", folder, "--output", tmp_path / "f.npz"]
    assert run([*arguments, "--layers", "stage1", "pooled", "stage4", "--sheet", tmp_path / "maps.png"]) == 0
    drawn = np.asarray(Image.open(tmp_path / "maps.png"))
    assert drawn.shape[1] == 2 * 20 + 3 * 220 + 2 * 14  # the photo and two maps
    assert run([*arguments[:4], "--layers", "stage1", "--sheet", tmp_path / "alone.png"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"f.npz", "maps.png", "alone.png"}
    assert run([*arguments, "--sheet", tmp_path / "none.png"]) == 1
    assert run([*arguments, "--layers", "stage1", "--average", "--sheet", tmp_path / "none.png"]) == 1
    assert not (tmp_path / "none.png").exists()


def test_principal_components_find_the_directions_of_variance() -> None:
    """Three orthogonal patterns of decreasing variance come back as red, green and blue, up to stretching."""
    height, width = 8, 16
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    patterns = torch.stack((x, y, x * y)).flatten(1)
    directions = torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(0))).Q
    features = (directions * torch.tensor([9.0, 3.0, 1.0])) @ patterns
    picture = np.asarray(principal_components(features.view(12, height, width)), np.float64)
    for channel, pattern in enumerate(patterns.view(3, height, width).numpy()):
        assert abs(np.corrcoef(picture[..., channel].ravel(), pattern.ravel())[0, 1]) > 0.99


def test_drawing_takes_any_size_and_long_labels() -> None:
    for size in ((1, 1), (4000, 3), (3, 4000)):
        drawn = with_bars(Image.new("RGB", size), "name " * 40, [("label " * 30, 0.5), ("b", 1.0), ("c", 0.0)])
        assert drawn.width == 480
        assert drawn.height < 800
    full, empty = (np.asarray(with_bars(Image.new("RGB", (9, 9)), "", [("x", v)])) for v in (1.0, 0.0))
    assert (full != empty).any(-1).sum() > 1000, "a full bar differs from an empty one by its area"
    pictures = [(Image.new("RGB", (5, 9)), ())] * 6
    sheet = contact_sheet(pictures, headings=("a", "b", "c"), title="t", footer="f", columns=3, cell=220)
    assert sheet.width == 728, "two margins of 20, three cells, two gaps of 14"
