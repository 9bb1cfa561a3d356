"""Checkpoints: layouts, containers, strictness, hostile and damaged files, model folders, downloads, memory."""

import argparse
import dataclasses
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.classifiers import CONFIGS, IMAGES, equal, state_of
from helpers.goldens import near, official_names
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from internimage import convert_checkpoint, create_model, get_recipe, list_models, load_model, save_model
from internimage.checkpoints import hub as hub_module
from internimage.checkpoints.convert import write_layout
from internimage.description import ModelDescription
from internimage.errors import (
    CheckpointMismatchError,
    CheckpointReadError,
    CheckpointWriteError,
    ConfigError,
    DownloadError,
    UnknownModelError,
    UnsafeCheckpointError,
)
from internimage.labels import imagenet22k_to_1k, load_labels
from internimage.models.classifier import ImageClassifier

State = Mapping[str, Tensor]


pytestmark = pytest.mark.usefixtures("small_recipes")


def holds(model: nn.Module, state: State) -> bool:
    """Bit for bit, under the official names."""
    names = official_names(model)
    return equal({names[ours]: tensor for ours, tensor in model.state_dict().items()}, state)


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    torch.save({"model": state_of("small")}, tmp_path / "small.pth")
    return tmp_path / "small.pth"


@pytest.mark.parametrize("name", CONFIGS)
def test_layouts_round_trip(name: str, tmp_path: Path) -> None:
    state, path = state_of(name), tmp_path / f"{name}.pth"
    torch.save({"model": state}, path)
    for layout, target in (("hf", "hf"), ("ours", "ours"), ("official", "back.pth")):
        path = convert_checkpoint(path, tmp_path / target, layout, name=None if layout == "hf" else name)
        assert holds(create_model(name, checkpoint=path), state)
    assert holds(load_model(tmp_path / "ours"), state)
    content = torch.load(path, weights_only=True)
    assert content.keys() == {"model"}
    assert equal(content["model"], state)
    assert set(load_file(tmp_path / "hf" / "model.safetensors")) == {
        "model." + key.replace("gamma", "layer_scale") for key in state
    }


@pytest.mark.full
def test_configuration_files_are_those_published(shared: Path, tmp_path: Path) -> None:
    published = json.loads((shared / "spec/checkpoints/classification/huggingface.json").read_text())["repos"]
    named = [get_recipe(name) for name in list_models("internimage_*") if get_recipe(name).hub_name]
    assert {recipe.hub_name for recipe in named} == {f"OpenGVLab/{name}" for name in published}
    for recipe in named:
        files = published[recipe.hub_name.removeprefix("OpenGVLab/")]
        description = ModelDescription(recipe.architecture, preprocessing=recipe.preprocessing)
        folder = write_layout(tmp_path / recipe.name, "hf", {}, recipe.config, description)
        assert json.loads((folder / "preprocessor_config.json").read_text()) == files["preprocessor_config"]
        config = json.loads((folder / "config.json").read_text())
        # ours names the class that the weights belong to, and where its code is
        for theirs in ("_name_or_path", "transformers_version", "architectures", "auto_map"):
            files["config"].pop(theirs), config.pop(theirs, None)
        assert config == files["config"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "container",
    [
        lambda state: {"model": state, "model_ema": prefixed("x", state), "optimizer": {"state": [torch.ones(2)]}},
        lambda state: {"module": state, "epoch": 3},
        lambda state: {"state_dict": state},
        lambda state: {"model_ema": state},
        lambda state: state,
        lambda state: {"model": prefixed("module.", state)},
        lambda state: prefixed("_orig_mod.", state),
        lambda state: prefixed("module._orig_mod.", state),
        lambda state: prefixed("_orig_mod.module.", state),
    ],
)
def test_containers(container: Callable[[State], Any], legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    torch.save(container(state_of("small")), path, _use_new_zipfile_serialization=not legacy)
    assert holds(create_model("small", checkpoint=path), state_of("small"))


def test_moving_average(tmp_path: Path, small: Path) -> None:
    state = state_of("small")
    torch.save({"model": {name: 2 * t for name, t in state.items()}, "model_ema": state}, tmp_path / "both.pth")
    path = convert_checkpoint(tmp_path / "both.pth", tmp_path / "ema", "ours", name="small", ema=True)
    assert holds(load_model(path), state)
    with pytest.raises(CheckpointReadError, match="no moving average"):
        convert_checkpoint(small, tmp_path / "none", "ours", ema=True)


def test_saved_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    folder = save_model(create_model("internimage_atto", num_classes=2), tmp_path / "model")
    assert {path.stat().st_mode for path in folder.iterdir()} == {ordinary.stat().st_mode}


@pytest.mark.parametrize(("weights", "save"), [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)])
def test_folders_and_shards(weights: str, save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    state = dict(state_of("small"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    save(state, whole / weights)
    index = {name: f"part{number % 3}-{weights}" for number, name in enumerate(state)}
    for part in set(index.values()):
        save({name: tensor for name, tensor in state.items() if index[name] == part}, cut / part)
    (cut / f"{weights}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    for path in (whole, whole / weights, cut, cut / f"{weights}.index.json"):
        assert holds(create_model("small", checkpoint=path), state)


def renamed(state: dict[str, Tensor], prefix: str = "foo.") -> None:
    for name in list(state):
        state[f"{prefix}{name}"] = state.pop(name)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "small",
            lambda state: state.pop("patch_embed.conv1.bias"),
            "1 tensors of the model are missing from the file: backbone.stem.conv1.bias; check that the name belongs",
        ),
        (
            "small",
            lambda state: state.update({"conv_head.9.bias": IMAGES} | {f"x{i}": IMAGES for i in range(9)}),
            "10 tensors of the file are not part of the model: conv_head.9.bias, x0, x1, x2, x3, x4, ...; check",
        ),
        (
            "small",
            lambda state: state.update({"patch_embed.conv1.bias": torch.ones(9)}),
            "1 tensors have another shape: patch_embed.conv1.bias is (9,), the model has (8,); check that the name",
        ),
        (
            "small",
            lambda state: state.update({"head.weight": torch.ones(7, 192), "head.bias": torch.ones(7)}),
            "head.bias is (7,), the model has (1000,); the file has 7 classes: pass num_classes=7",
        ),
        ("small_h", lambda state: None, "16 tensors of the file are not part of the model: conv_head.0.weight, "),
        ("internimage_atto", lambda state: None, "patch_embed.conv1.weight is (8, 3, 3, 3), the model has (16, 3"),
        ("small", renamed, "none of the names of an InternImage model"),
        ("small", lambda state: renamed(state, "backbone."), "the names are those of a detector's or segmenter's file"),
    ],
)
def test_strictness(name: str, change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    state = dict(state_of("small"))
    change(state)
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(CheckpointMismatchError, match=re.escape(message)):
        create_model(name, checkpoint=tmp_path / "changed.pth")


@pytest.mark.parametrize("stored", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("wanted", [None, torch.float16])
def test_precision_is_the_callers_choice(stored: torch.dtype, wanted: torch.dtype | None, tmp_path: Path) -> None:
    state = {name: t.to(stored) if t.is_floating_point() else t for name, t in state_of("small").items()}
    torch.save(state, tmp_path / "weights.pth")
    target = wanted or torch.float32
    expected = {name: t.to(target) if t.is_floating_point() else t for name, t in state.items()}
    model = create_model("small", checkpoint=tmp_path / "weights.pth", dtype=wanted)
    assert holds(model, expected)
    assert {t.dtype for t in model.parameters()} == {target}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["small", "small_h", "small_inat"])
def test_other_number_of_classes(name: str, tmp_path: Path) -> None:
    """Only the classifier starts anew; a file with that many classes is loaded whole, without a word."""
    torch.save(state_of(name), tmp_path / "weights.pth")
    whole = create_model(name, checkpoint=tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match=f"weights.pth has {whole.num_classes} classes, the model 7: the classifier"):
        model = create_model(name, checkpoint=tmp_path / "weights.pth", num_classes=7)
    assert model(IMAGES).shape == (1, 7)
    anew = ("classifier.weight", "classifier.bias", "metadata_head.fc.weight", "metadata_head.fc.bias")
    expected = {key: tensor for key, tensor in whole.state_dict().items() if key not in anew}
    assert equal({key: tensor for key, tensor in model.state_dict().items() if key not in anew}, expected)
    save_model(model, tmp_path / "seven")
    again = create_model(name, checkpoint=tmp_path / "seven", num_classes=7)
    assert equal(again.state_dict(), model.state_dict())
    headless = create_model(name, checkpoint=tmp_path / "weights.pth", num_classes=0)
    assert torch.equal(headless(IMAGES), whole.forward_intermediates(IMAGES).pooled)


@torch.no_grad()
def test_22k_classes_to_1k(tmp_path: Path) -> None:
    torch.save(state_of("small_22k"), tmp_path / "weights.pth")
    whole = create_model("small_22k", checkpoint=tmp_path / "weights.pth")
    reduced = create_model("small_22k", checkpoint=tmp_path / "weights.pth", labels="imagenet1k")
    rows, names = imagenet22k_to_1k(), load_labels("imagenet1k")
    near(reduced(IMAGES), whole(IMAGES)[:, list(rows)], 1e-6)
    assert (whole.description.labels, reduced.description.labels) == (load_labels("imagenet22k"), names)
    # every row has the name of its class, but the one that two classes share
    assert [name for name, row in zip(names, rows, strict=True) if whole.description.labels[row] != name] == ["teddy"]
    assert rows[names.index("teddy")] == rows[names.index("teapot")]


def test_backbone_of_a_classifier(small: Path, tmp_path: Path) -> None:
    backbone = create_model("small", checkpoint=small, features_only=True, out_indices=(1, 3))
    expected = create_model("small", checkpoint=small).backbone.state_dict()
    assert equal(backbone.state_dict(), expected)
    path = save_model(backbone, tmp_path / "backbone")
    assert equal(load_model(path).state_dict(), expected)
    again = create_model("small", checkpoint=path, features_only=True)
    assert equal(again.state_dict(), expected)


class Payload:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: str) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Custom:
    """Acts when it is restored."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["marker"]).mkdir()


@pytest.mark.parametrize(
    "hostile",
    [
        lambda marker: Payload(os.system, f"mkdir {marker}"),
        lambda marker: Payload(eval, f"__import__('os').mkdir({marker!r})"),
        lambda marker: Payload(os.mkdir, marker),
        Custom,
    ],
    ids=["os.system", "eval", "os.mkdir", "class"],
)
@pytest.mark.parametrize(
    ("save", "error"),
    [
        (torch.save, UnsafeCheckpointError),
        (partial(torch.save, _use_new_zipfile_serialization=False), UnsafeCheckpointError),
        (lambda bad, path: torch.save({"model": state_of("small"), "scaler": [bad]}, path), UnsafeCheckpointError),
        (lambda bad, path: path.write_bytes(pickle.dumps(bad, protocol=2)), UnsafeCheckpointError),
        (lambda bad, path: path.write_bytes(pickle.dumps(bad, protocol=4)), CheckpointReadError),
    ],
    ids=["zip", "legacy", "training", "pickle", "newer pickle"],
)
def test_hostile_pickles_do_not_run(save: Callable[..., Any], error: Any, hostile: Any, tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.pth", tmp_path / "marker"
    save(hostile(str(marker)), path)
    with pytest.raises(error, match=r"asks for .* nothing of it has run|not a PyTorch weights file"):
        create_model("small", checkpoint=path)
    assert not marker.exists()
    with suppress(RuntimeError):  # not a file that torch wrote; it says so after reading it
        torch.load(path, weights_only=False)
    assert marker.exists()  # the payload was live


@pytest.mark.parametrize("legacy", [False, True])
def test_training_checkpoint_of_the_released_code(
    legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It pickles a yacs configuration and NumPy scalars; the package need not be there to read it."""

    class CfgNode(dict):
        def __init__(self, content: dict[str, Any]) -> None:
            super().__init__(content)
            self.__dict__["__immutable__"] = False

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    content = {
        "model": state_of("small"),
        "config": CfgNode({"MODEL": CfgNode({"DEPTHS": [1, 1], "NAME": "x"}), "LR": 1e-3}),
        "max_accuracy": np.float64(83.1),
        "args": argparse.Namespace(local_rank=0),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": np.float32(1e-3)}]},
    }
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", types.ModuleType("yacs.config"))
        sys.modules["yacs.config"].CfgNode = CfgNode
        torch.save(content, tmp_path / "ckpt.pth", _use_new_zipfile_serialization=not legacy)
    assert holds(create_model("small", checkpoint=tmp_path / "ckpt.pth"), state_of("small"))


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_files(form: str, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(dict(state_of("small")), path)
    else:
        torch.save(state_of("small"), path, _use_new_zipfile_serialization=form == "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(CheckpointReadError, match=str(path)):
        create_model("small", checkpoint=path)


def index(**weight_map: Any) -> Callable[[Path], Any]:
    return lambda path: path.write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("missing.pth", lambda path: None, "does not exist"),
        ("empty.pth", lambda path: path.touch(), "is empty"),
        ("text.pth", lambda path: path.write_text("hello world" * 10), "text.pth"),
        ("list.pth", lambda path: torch.save([torch.ones(2)], path), "contains a list; expected a PyTorch state"),
        ("numbers.pth", lambda path: torch.save({"model": {"a": 1}}, path), "contains no tensors"),
        ("keys.pth", lambda path: torch.save({0: torch.ones(2)}, path), "keys.pth"),
        ("weights.h5", lambda path: path.write_text("x"), "unknown suffix; expected .safetensors or a PyTorch file"),
        ("folder", lambda path: path.mkdir(), "holds no weights; expected one of model.safetensors, "),
        ("a.safetensors", lambda path: path.write_bytes(b"\xff" * 64), "not a complete safetensors file"),
        ("a.safetensors", lambda path: torch.save({"a": torch.ones(2)}, path), "not a complete safetensors file"),
        ("a.safetensors.index.json", lambda path: path.write_text("{"), "not an index of sharded weights"),
        ("a.safetensors.index.json", lambda path: path.write_text("[]"), "not an index of sharded weights"),
        ("a.safetensors.index.json", index(x=3), "not an index of sharded weights"),
        ("a.safetensors.index.json", index(x="b.safetensors"), "b.safetensors does not exist"),
        ("a.safetensors.index.json", index(x="a.safetensors.index.json"), "not an index of sharded weights"),
        ("a.safetensors.index.json", index(x="small.pth"), "lists x in small.pth, which does not hold it"),
        ("a.safetensors.index.json", index(x="../small.pth"), "points to files outside its folder"),
        ("a.safetensors.index.json", index(x="/etc/small.pth"), "points to files outside its folder"),
    ],
)
def test_damaged_files(name: str, write: Callable[[Path], Any], message: str, small: Path) -> None:
    write(small.parent / name)
    error = UnsafeCheckpointError if "outside" in message else CheckpointReadError
    with pytest.raises(error, match=message):
        create_model("small", checkpoint=small.parent / name)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda text: None, CheckpointReadError, "model.json does not exist; a model folder holds"),
        (lambda text: text[:-20], CheckpointReadError, "model.json is not readable JSON"),
        (lambda text: "[]", CheckpointReadError, "has schema version None"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), CheckpointReadError, "upgrade"),
        (lambda text: text.replace('"labels"', '"lables"'), CheckpointReadError, "unknown field 'lables'"),
        (lambda text: text.replace('"architecture": "im', '"x": "im'), CheckpointReadError, "unknown field 'x'"),
        (lambda text: text.replace('"resize": 224', '"resize": "224"'), CheckpointReadError, "resize is '224'"),
        (lambda text: text.replace('"channels"', '"chanels"'), ConfigError, "unknown field 'chanels'"),
        (lambda text: text.replace('"image_classifier"', '"unet"'), CheckpointMismatchError, "holds a 'unet'"),
        (lambda text: text.replace('"channels": 16', '"channels": 32'), CheckpointMismatchError, "another shape"),
    ],
)
def test_damaged_descriptions(change: Callable[[str], str | None], error: Any, message: str, small: Path) -> None:
    folder = convert_checkpoint(small, small.parent / "model", "ours")
    text = change((folder / "model.json").read_text())
    (folder / "model.json").unlink() if text is None else (folder / "model.json").write_text(text)
    with pytest.raises(error, match=message):
        load_model(folder)


def test_saved_models_come_back(small: Path, tmp_path: Path) -> None:
    model = create_model("small", checkpoint=small)
    again = load_model(save_model(model, tmp_path / "same"))
    assert not again.training
    assert equal(again.state_dict(), model.state_dict())
    assert again.config == model.config
    assert dataclasses.replace(again.description, config={}) == model.description
    assert (again.description.source.recipe, again.description.source.file) == ("small", "small.pth")
    model.reset_classifier(2)
    assert load_model(save_model(model, tmp_path / "two")).description.labels is None
    labelled = load_model(save_model(model, tmp_path / "cats", labels=["cat", "Löwe"]))
    assert labelled.description.labels == ("cat", "Löwe")
    assert labelled.description.preprocessing == get_recipe("small").preprocessing
    assert torch.equal(labelled(IMAGES), model(IMAGES))


@pytest.mark.parametrize("broken", [(safetensors.torch, "save_file"), (Path, "write_text")])
def test_a_failure_in_saving_leaves_what_was_there(
    broken: tuple[Any, str], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = convert_checkpoint(small, small.parent / "model", "ours")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(*arguments: Any, **_: Any) -> None:
        target = next(argument for argument in arguments if isinstance(argument, Path))
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(*broken, full_disk)
    with pytest.raises(CheckpointWriteError, match="No space left"):
        save_model(create_model("small"), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda path: create_model("internimage_t"), UnknownModelError, "did you mean .*internimage_t_1k_224"),
        (lambda path: create_model("internimage_l_22k_384"), UnknownModelError, "mean internimage_l_22k_192to384"),
        (lambda path: create_model("internimage_atto", pretrained=True), DownloadError, "no weights were published"),
        (lambda path: create_model("small", pretrained=True, checkpoint=path), ConfigError, "not both"),
        (lambda path: create_model("small", features_only=True, num_classes=3), ConfigError, "builds no classifier"),
        (lambda path: create_model("small", labels="imagenet1k"), ConfigError, "no 21,841-way classifier"),
        (lambda path: create_model("small_22k", labels="cats"), ConfigError, "labels takes 'imagenet1k' alone"),
        (lambda path: save_model(nn.Linear(1, 1), path), ConfigError, "cannot save a Linear"),
        (lambda path: save_model(create_model("small"), path, labels=["a"]), ConfigError, "1 labels for a model with"),
        (lambda path: convert_checkpoint(path, "a", "official"), ConfigError, "does not end in .pth"),
        (lambda path: convert_checkpoint(path, "a.pth", "hf"), ConfigError, "the hf layout is a folder"),
        (
            lambda path: write_layout(
                Path("a"), "hf", {}, get_recipe("internimage_pico").config, create_model("small").description
            ),
            ConfigError,
            "hf layout cannot say that a model's masks have no softmax",
        ),
        (
            lambda path: convert_checkpoint(path.rename(path.with_name("mine.pth")), "a", "hf"),
            UnknownModelError,
            "mine",
        ),
    ],
)
def test_contradicting_options(call: Callable[[Path], Any], error: Any, message: str, small: Path) -> None:
    with pytest.raises(error, match=message):
        call(small)


def run_python(script: str, *arguments: object, **environment: object) -> list[str]:
    """Lines that a fresh interpreter prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[dict[str, object], bytes, list[str]]]:
    """A hub with one file: environment that leads to it, the file, and a log of requests."""
    data, requests = b"weights" * 10**6, []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            requests.append(f"{self.command} {self.path}")
            found = self.path == "/OpenGVLab/InternImage/resolve/main/atto.pth"
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "0" * 40)
            if found:
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Linked-Size", str(len(data)))
            else:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", str(len(data) if found else 0))
            self.end_headers()
            if found and self.command == "GET":
                self.wfile.write(data)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {"HF_ENDPOINT": address, "HF_HOME": tmp_path / "cache", "NO_PROXY": "*"}, data, requests
        server.shutdown()


DOWNLOAD = """
import hashlib
from internimage.checkpoints.hub import HubFile, cached_sha256, download
from internimage.errors import DownloadError
for name in ("atto.pth", "absent.pth"):
    try:
        path = download(HubFile("OpenGVLab/InternImage", name))
        print(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), cached_sha256(path))
    except DownloadError as error:
        print("DownloadError", error)
"""


def test_download(hub: tuple[dict[str, object], bytes, list[str]]) -> None:
    environment, data, requests = hub
    digest = hashlib.sha256(data).hexdigest()
    expected = f"atto.pth {digest} {digest}"
    found, absent = run_python(DOWNLOAD, **environment)
    assert found == expected
    assert requests.count("GET /OpenGVLab/InternImage/resolve/main/atto.pth") == 1
    requests.clear()
    found, offline = run_python(DOWNLOAD, **environment, HF_HUB_OFFLINE=1)
    assert found == expected
    assert not requests
    for line, reason in ((absent, "could not be downloaded"), (offline, "is not in the cache and there is no network")):
        assert line.startswith(f"DownloadError absent.pth {reason}")
        url = "https://huggingface.co/OpenGVLab/InternImage/resolve/main/absent.pth"
        assert f"fetch {url} where there is a network and pass the file as checkpoint=" in line


def test_without_a_network_the_packaged_models_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(weights: Any) -> Path:
        raise DownloadError(f"{weights.file} is not there")

    monkeypatch.setattr("internimage.checkpoints.hub.download", unreachable)
    with pytest.raises(DownloadError, match=r"3x_coco.pth is not there\. .*faster_rcnn_.*, mask_rcnn_.*nuclei_320$"):
        create_model("mask_rcnn_internimage_t_fpn_3x_coco", pretrained=True)


def test_a_lost_connection_is_a_download_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client lets errors of its own HTTP library through."""

    class ProtocolError(Exception):
        pass

    def interrupted(*_: str) -> None:
        raise ProtocolError("peer closed connection")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    monkeypatch.setattr(hub_module, "hub_answers", lambda timeout: True)
    with pytest.raises(DownloadError, match=r"s_1k_224.pth could not be downloaded \(peer closed connection\); fetch"):
        create_model("internimage_s_1k_224", pretrained=True)


LOAD = """
import sys, torch
from internimage import create_model
def peak():  # not ru_maxrss: a process inherits that of its parent
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
create_model("internimage_atto")
before = peak()
model = create_model(sys.argv[1], checkpoint=sys.argv[2], dtype=getattr(torch, sys.argv[3]))
print(peak() - before)
assert all(p.dtype == getattr(torch, sys.argv[3]) for p in model.parameters())
"""


@pytest.mark.full
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "suffix", "dtypes"),
    [
        ("internimage_l_22k_192to384", ".pth", ("float32", "float16")),
        ("internimage_l_22k_192to384", ".safetensors", ("float32", "float16")),
        ("internimage_g_22kto1k_512", ".pth", ("float32",)),
    ],
)
def test_loading_takes_one_copy_of_the_weights(name: str, suffix: str, dtypes: tuple[str, ...], tmp_path: Path) -> None:
    """Peak resident memory over that before: the model in its dtype and half a GiB."""
    recipe, path = get_recipe(name), tmp_path / f"weights{suffix}"
    with torch.device("meta"):
        model = ImageClassifier(recipe.config)
    meminfo = Path("/proc/meminfo").read_text()
    free = 1024 * int(re.search(r"MemAvailable: +(\d+) kB", meminfo)[1])
    needed = 4 * recipe.parameters + 2**31
    if min(free, shutil.disk_usage(tmp_path).free) < needed:
        pytest.skip(f"needs {needed / 2**30:.0f} GiB of memory and of disk")
    names = official_names(model)
    state = {names[ours]: torch.zeros(t.shape, dtype=t.dtype) for ours, t in model.state_dict().items()}
    try:
        save_file(state, path) if suffix == ".safetensors" else torch.save({"model": state}, path)
        del state
        for dtype in dtypes:
            (growth,) = run_python(LOAD, name, path, dtype)
            assert int(growth) <= recipe.parameters * getattr(torch, dtype).itemsize + 2**29
    finally:
        path.unlink(missing_ok=True)  # temporary folders outlive the run


def test_a_damaged_download_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blob, link = tmp_path / hashlib.sha256(b"weights").hexdigest(), tmp_path / "internimage_s_1k_224.pth"
    blob.write_bytes(b"Weights")
    link.symlink_to(blob)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(link))
    monkeypatch.setattr(hub_module, "hub_answers", lambda timeout: True)
    with pytest.raises(DownloadError, match="arrived damaged"):
        create_model("internimage_s_1k_224", pretrained=True)
    assert not list(tmp_path.iterdir())
