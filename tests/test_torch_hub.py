"""``torch.hub`` finds every model in the repository's ``hubconf.py``, with nothing installed but its dependencies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import internimage as ii

ROOT = Path(__file__).parents[1]
CODE = """
import json, runpy, sys, torch
model = torch.hub.load(sys.argv[1], "internimage_atto", source="local", num_classes=4)
packaged = torch.hub.load(sys.argv[1], "internimage_atto_clothing_128", source="local", pretrained=True)
import internimage
names = [name for name in runpy.run_path(sys.argv[1] + "/hubconf.py") if not name.startswith("_")]
x = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
print(json.dumps([internimage.__file__, names, list(model(x).shape), packaged(x).tolist()]))
"""


def test_models_of_the_repository(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-c", CODE, str(ROOT)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert found.returncode == 0, found.stderr
    place, names, shape, scores = json.loads(found.stdout.splitlines()[-1])
    assert Path(place) == ROOT / "src/internimage/__init__.py"
    assert set(ii.list_models()) | {"dependencies"} == set(names)
    assert shape == [1, 4]
    x = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        expected = ii.create_model("internimage_atto_clothing_128", pretrained=True)(x)
    torch.testing.assert_close(torch.tensor(scores), expected)
