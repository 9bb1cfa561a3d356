"""Reading tensors from files of any kind, safely and with bounded memory.

Pickles go through PyTorch's weights-only unpickler and nothing else.  Tensors are first described (shape, dtype), then
copied out in batches of bounded size, with the file mapped anew for each batch: while a model loads, one copy of the
weights and at most one batch of file pages are resident.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from internimage.errors import CheckpointReadError, UnsafeCheckpointError

_BATCH_BYTES = 256 << 20
_PICKLE_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
# Files that hold the weights of a model folder, best first.
_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Where training scripts keep the weights, in the order in which they are looked for.
_CONTAINERS = ("model", "module", "state_dict", "model_ema")
_WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor is, without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@dataclass(frozen=True)
class NamedClasses:
    """Names of a model's classes, and colours (red, green, blue) of each, None where a file says none."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None


class TensorFile(Protocol):
    """Named tensors in a file, and what it says of the classes."""

    path: Path
    specs: dict[str, TensorSpec]
    classes: NamedClasses | None

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the named tensors; each may be backed by the file and is to be copied before the next one is taken."""
        ...


def open_checkpoint(path: str | Path, *, ema: bool = False) -> TensorFile:
    """Open a file or model folder.

    Args:
        path: ``.safetensors``, a PyTorch file (``.pth``, ``.pt``, ``.bin``, ``.ckpt``) or a folder that holds
            ``model.safetensors`` or ``pytorch_model.bin``, possibly sharded.
        ema: take the exponential moving average that a training checkpoint keeps beside its weights.

    Raises:
        CheckpointReadError: missing, empty, truncated, or not a checkpoint.
        UnsafeCheckpointError: a pickle that wants more than tensors.  Nothing of it has run.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = [path / name for name in _FOLDER_FILES if (path / name).is_file()]
        if not found:
            raise CheckpointReadError(f"{path} holds no weights; expected one of {', '.join(_FOLDER_FILES)}")
        path = found[0]
    if not path.is_file():
        raise CheckpointReadError(f"{path} does not exist; expected a checkpoint file or a model folder")
    if path.stat().st_size == 0:
        raise CheckpointReadError(f"{path} is empty; copy or download it again")
    if path.name.endswith(".index.json"):
        return ShardedFile(path)
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in _PICKLE_SUFFIXES:
        return PickleFile(path, ema=ema)
    raise CheckpointReadError(
        f"{path} has an unknown suffix; expected .safetensors or a PyTorch file ({', '.join(_PICKLE_SUFFIXES)})"
    )


def batches(file: TensorFile, names: Iterable[str]) -> Iterator[list[str]]:
    """Cut ``names`` into runs of bounded size, one tensor at least."""
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and size + file.specs[name].bytes > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += file.specs[name].bytes
    if batch:
        yield batch


class SafetensorsFile:
    """A ``.safetensors`` file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.classes = _hugging_face_classes(path.parent)
        with self._open() as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            dtypes = {name: _SAFETENSORS_DTYPES.get(part.get_dtype()) for name, part in slices.items()}
            unknown = sorted(name for name, dtype in dtypes.items() if dtype is None)
            if unknown:
                raise CheckpointReadError(f"{path}: {unknown[0]} is {slices[unknown[0]].get_dtype()}, not supported")
            self.specs = {
                name: TensorSpec(tuple(part.get_shape()), dtype)
                for name, part in slices.items()
                if (dtype := dtypes[name]) is not None
            }

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        for batch in batches(self, names):
            with self._open() as file:
                for name in batch:
                    yield name, file.get_tensor(name)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with _in_utf8(self.path) as path, safe_open(path, framework="pt", device="cpu") as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise CheckpointReadError(f"{self.path} is not a complete safetensors file: {error}") from error


@contextmanager
def _in_utf8(path: Path) -> Iterator[Path]:
    """A path to the same file that is UTF-8, as the libraries want it; where such names exist, open files have one."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class PickleFile:
    """A file written by ``torch.save``: a state dict, or a training checkpoint that contains one."""

    def __init__(self, path: Path, *, ema: bool = False) -> None:
        self.path = path
        self.ema = ema
        content = load_weights_only(path)
        self.classes = _classes_of_meta(content) or _hugging_face_classes(path.parent)
        state = self._state(content)
        self.specs = {name: TensorSpec(tuple(t.shape), t.dtype) for name, t in state.items()}
        self._mapped = zipfile.is_zipfile(path)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        if not self._mapped:  # files from before PyTorch 1.6 cannot be mapped
            state = self._state()
            yield from ((name, state[name]) for name in names)
            return
        for batch in batches(self, names):
            state = self._state()
            for name in batch:
                yield name, state.pop(name)

    def _state(self, content: Any = None) -> dict[str, Tensor]:
        state = self._unwrap(load_weights_only(self.path) if content is None else content)
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        if not tensors or not all(isinstance(name, str) for name in tensors):
            raise CheckpointReadError(f"{self.path} contains no tensors by name; expected a PyTorch state dict")
        while wrapper := next((w for w in _WRAPPERS if all(name.startswith(w) for name in tensors)), None):
            tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
        return tensors

    def _unwrap(self, content: Any) -> dict[Any, Any]:
        if not isinstance(content, dict):
            raise CheckpointReadError(
                f"{self.path} contains a {type(content).__name__}; expected a PyTorch state dict or training checkpoint"
            )
        if self.ema:
            if not isinstance(content.get("model_ema"), dict):
                raise CheckpointReadError(f"{self.path} keeps no moving average ('model_ema'); load it without ema")
            return content["model_ema"]
        for key in _CONTAINERS:
            if isinstance(content.get(key), dict):
                return content[key]
        return content


class ShardedFile:
    """Weights cut into several files, with an index that names the file of each tensor (Hugging Face)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            index: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(index.values()))
            if any(name.endswith(".json") for name in names):
                raise ValueError("a tensor is said to be in an index")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointReadError(f"{path} is not an index of sharded weights: {error!r}") from error
        if any(Path(name).name != name for name in names):
            raise UnsafeCheckpointError(f"{path} points to files outside its folder")
        self._parts = {name: open_checkpoint(path.parent / name) for name in names}
        self._index = index
        self.classes = _hugging_face_classes(path.parent)
        lost = [name for name, part in index.items() if name not in self._parts[part].specs]
        if lost:
            raise CheckpointReadError(f"{path} lists {lost[0]} in {index[lost[0]]}, which does not hold it")
        self.specs = {name: self._parts[part].specs[name] for name, part in index.items()}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        wanted = list(names)
        for part, file in self._parts.items():
            yield from file.read([name for name in wanted if self._index[name] == part])


def _classes_of_meta(content: Any) -> NamedClasses | None:
    """Names and colours that checkpoints of mmdetection and mmsegmentation carry beside the weights."""
    meta = content.get("meta") if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        return None
    inner = meta.get("dataset_meta")
    found = {str(key).lower(): value for key, value in (inner if isinstance(inner, dict) else meta).items()}
    names, palette = found.get("classes"), found.get("palette")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        return None
    colours = None
    if isinstance(palette, list | tuple) and len(palette) == len(names) and all(map(_is_colour, palette)):
        colours = tuple((int(one[0]), int(one[1]), int(one[2])) for one in palette)
    return NamedClasses(tuple(names), colours)


def _is_colour(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(type(one) is int and 0 <= one <= 255 for one in value)
    )


def _hugging_face_classes(folder: Path) -> NamedClasses | None:
    """Names in ``id2label`` of a Hugging Face folder; not those that its library makes up."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = {int(number): name for number, name in content["id2label"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    ordered = [names.get(number) for number in range(len(names))]
    if not ordered or not all(isinstance(name, str) and not re.fullmatch(r"LABEL_\d+", name) for name in ordered):
        return None
    return NamedClasses(tuple(map(str, ordered)))


class _Discarded:
    """Stands for a harmless object of a training checkpoint; takes any state and keeps none."""

    def __new__(cls, *args: object) -> _Discarded:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _PlainMapping:
    """Stands for a configuration class; what is built is an ordinary dictionary."""

    def __new__(cls, *args: object) -> Any:
        return OrderedDict()


# Training checkpoints of the original code pickle their yacs configuration, mmcv's its own.  The weights-only
# unpickler would refuse the whole file; these names are bound to empty stand-ins instead, never to the real classes.
_STAND_INS: list[Any] = [
    (_PlainMapping, "yacs.config.CfgNode"),
    (_PlainMapping, "mmcv.utils.config.ConfigDict"),
    (_Discarded, "argparse.Namespace"),
    (_Discarded, "numpy.dtype"),
    (_Discarded, "numpy._core.multiarray.scalar"),
    (_Discarded, "numpy.core.multiarray.scalar"),
]


def load_weights_only(path: Path) -> Any:
    """``torch.load`` through the weights-only reader, memory mapped, with errors of ours."""
    try:
        with torch.serialization.safe_globals(_STAND_INS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            with _in_utf8(path) as place:
                return torch.load(place, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(place))
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise UnsafeCheckpointError(
                f"{path} asks for {refused[1]}, which is not a weight; it was refused and nothing of it has run. "
                "Only load files that hold tensors: save the model's state_dict() alone, or a safetensors file"
            ) from error
        raise CheckpointReadError(f"{path} is not a PyTorch weights file ({_last_line(error)})") from error
    except Exception as error:  # a damaged file can make the reader raise anything
        raise CheckpointReadError(
            f"{path} cannot be read; it is truncated or not a PyTorch file ({_last_line(error)})"
        ) from error


def _last_line(error: Exception) -> str:
    """The part of PyTorch's long message that says what went wrong."""
    found = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    text = found[1] if found else str(error).strip().split("\n")[0]
    return (text.split(". ")[0] or type(error).__name__)[:160]
