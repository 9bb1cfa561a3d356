"""What earlier versions left on disk: runs go on with the same numbers, model folders give the same results."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import before, old_data
from helpers.training import Silent
from PIL import Image
from safetensors.torch import save_file

import internimage as ii
from internimage import registry
from internimage.training.run import resume_run

GOLDEN = before.golden()
_APART = 3e-3  # of AVX2 and AVX-512 losses are up to 1.7e-3 apart, means 1.4e-4, in the version before as well
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[pytest.mark.full] * (task == "detection")) for task in GOLDEN["runs"]]
)
def test_a_run_started_before_goes_on(task: str, tmp_path: Path) -> None:
    """One epoch was done; the other two have the losses, results and weights that the version before gave them."""
    given, folder = GOLDEN["runs"][task], tmp_path / "run"
    state = folder / "checkpoints" / given["checkpoint"]
    state.parent.mkdir(parents=True)
    torch.save(before.rebuilt(given["state"]), state)
    settings = given["run.json"] | {"data": str(old_data.paint(task, tmp_path / "data"))}
    (folder / "run.json").write_text(json.dumps(settings))
    started = resume_run(folder, Silent(), device="cpu")
    started.fit()
    history = started.trainer.progress.history
    assert len(history) == 3
    for row, expected in zip(history, given["history"], strict=True):
        assert row == pytest.approx(expected, rel=_APART, abs=1e-5)
    weights = {name: value for name, value in started.trainer.model.state_dict().items() if value.is_floating_point()}
    assert {name: float(value.double().abs().mean()) for name, value in weights.items()} == pytest.approx(
        given["weights"], rel=_APART
    )


@pytest.mark.parametrize("architecture", GOLDEN["folders"])
def test_a_folder_saved_before_loads(architecture: str, tmp_path: Path) -> None:
    given = GOLDEN["folders"][architecture]
    (tmp_path / "model.json").write_text(json.dumps(given["model.json"]))
    ((_, tensors),) = given["tensors"].items()
    save_file({name: before.rebuilt(value, name) for name, value in tensors}, tmp_path / "model.safetensors")
    model = ii.load_model(tmp_path)
    assert registry.architecture_of(type(model)) == architecture
    assert model.description.labels == (("a", "b", "c") if architecture != "internimage" else None)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    for name, numbers in found(model, noise).items():
        np.testing.assert_allclose(numbers, given["result"][name], rtol=1e-3, atol=1e-4, err_msg=name)


def found(model: Any, picture: Image.Image) -> dict[str, Any]:
    """A few numbers of each kind of result."""
    if isinstance(model.description.labels, type(None)):
        with torch.no_grad():
            return {"means": [float(one.mean()) for one in model(torch.ones(1, 3, 64, 64))]}
    result = ii.Predictor(model)(picture)
    if isinstance(result, ii.Classification):
        return {"probabilities": result.probabilities.tolist()}
    if isinstance(result, ii.Detections):
        return {"boxes": result.boxes[:5].tolist(), "scores": result.scores[:5].tolist()}
    return {
        "confidence": float(result.confidence.mean()),
        "classes": np.bincount(result.label_map.ravel(), minlength=3),
    }
