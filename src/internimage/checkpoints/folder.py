"""A model on disk: ``model.safetensors`` and ``model.json``.

The description carries everything that a checkpoint alone does not say, so that a folder is enough to predict.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from internimage.description import ModelDescription
from internimage.errors import CheckpointReadError, CheckpointWriteError, ConfigError
from internimage.settings.plain import from_plain
from internimage.writing import json_text, written_aside

SCHEMA_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
BEST_FOLDER = "best"  # in the folder of a run


def write_folder(folder: str | os.PathLike[str], tensors: Mapping[str, Tensor], description: ModelDescription) -> Path:
    """Write both files, each aside first and then renamed, so that a failure leaves nothing half-written."""
    folder = Path(folder).expanduser()
    with written_aside(folder / WEIGHTS_FILE, CheckpointWriteError) as weights:
        write_safetensors(weights, tensors)
        write_description(folder / DESCRIPTION_FILE, description)
    return folder


def write_description(path: Path, description: ModelDescription) -> None:
    """Write what is in ``model.json``, under any name."""
    content = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(description)}
    with written_aside(path, CheckpointWriteError) as aside:
        aside.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def read_description(folder: str | Path) -> ModelDescription:
    """Read ``model.json``; raise :class:`CheckpointReadError` if it is missing, damaged or from the future."""
    path = Path(folder).expanduser() / DESCRIPTION_FILE
    if not path.parent.exists():
        raise CheckpointReadError(f"there is no folder {path.parent}; expected a model's or a run's folder")
    return description_in(path)


def description_in(path: Path) -> ModelDescription:
    """What :func:`write_description` wrote; see :func:`read_description` for what it raises."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointReadError(
            f"{path} does not exist; a model folder holds {WEIGHTS_FILE} and {DESCRIPTION_FILE}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointReadError(f"{path} is not readable JSON: {error}") from error
    version = content.pop("schema_version", None) if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise CheckpointReadError(
            f"{path} has schema version {version}, this installation reads {SCHEMA_VERSION}; upgrade internimage"
        )
    try:
        return from_plain(ModelDescription, content)
    except ConfigError as error:
        raise CheckpointReadError(f"{path}: {error}") from error


def find_model(place: str | os.PathLike[str]) -> Path | None:
    """The model folder at ``place``: itself or, where ``place`` is a run's folder, its best model; None for neither."""
    path = Path(place).expanduser()
    return next((one for one in (path, path / BEST_FOLDER) if (one / DESCRIPTION_FILE).is_file()), None)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as they are; non-contiguous ones are copied first."""
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode  # as the user's umask has it; safetensors would leave a file that nobody else can read
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        path,
        metadata={"format": "pt"},
    )
    path.chmod(mode)
