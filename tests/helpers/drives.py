"""Small drives on disk: the synthetic tables of the goldens, and what the released reader made of them."""

import gzip
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

VERSION = "v1.0-mini"


def released() -> dict[str, Any]:
    """``tables`` and ``can_bus`` as on disk, and ``infos``, a new copy each time: 2 scenes of 4 frames, 6 cameras."""
    return json.loads(_text())


@cache
def _text() -> bytes:
    return gzip.decompress((Path(__file__).parents[1] / "data" / "nuscenes_io.json.gz").read_bytes())


def write_drives(root: Path, data: Mapping[str, Any], version: str = VERSION, size: tuple[int, int] = (16, 9)) -> Path:
    """The tables below ``root``, and a picture of ``size`` (width, height) for each record of a camera."""
    (root / version).mkdir(parents=True, exist_ok=True)
    (root / "can_bus").mkdir(exist_ok=True)
    for name, records in data["tables"].items():
        (root / version / f"{name}.json").write_text(json.dumps(records))
    for scene, records in data["can_bus"].items():
        (root / "can_bus" / f"{scene}_pose.json").write_text(json.dumps(records))
    picture = io.BytesIO()
    Image.new("RGB", size, (90, 120, 60)).save(picture, "jpeg")
    for record in data["tables"]["sample_data"]:
        if record["filename"].startswith("samples/CAM"):
            (root / record["filename"]).parent.mkdir(parents=True, exist_ok=True)
            (root / record["filename"]).write_bytes(picture.getvalue())
    return root
