"""One data set of labelled images in every format."""

import csv
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.training import COLOURS

NAMES = sorted(COLOURS)


def pictures(source: Path) -> list[tuple[str, Path]]:
    return [(name, path) for name in NAMES for path in sorted((source / name).iterdir())]


def pack_tar(path: Path, files: dict[str, bytes], kind: str = "w", **changes: Any) -> Path:
    with tarfile.open(path, kind, **changes) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def pack_zip(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_folder(source: Path, to: Path, part: str) -> None:
    shutil.copytree(source, to / part)


def as_csv(source: Path, to: Path, part: str) -> None:
    with (to / f"{part}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((path, name) for name, path in pictures(source))])


def as_zip(source: Path, to: Path, part: str) -> None:
    """As ``zip -r train.zip train`` packs a folder, hidden files of macOS included."""
    files = {f"{part}/{name}/{path.name}": path.read_bytes() for name, path in pictures(source)}
    pack_zip(to / f"{part}.zip", {**files, "__MACOSX/._0.png": b""}, zipfile.ZIP_DEFLATED)


def as_mapped_zip(source: Path, to: Path, part: str) -> None:
    files = {f"some/{name}{path.name}": path.read_bytes() for name, path in pictures(source)}
    pack_zip(to / f"{part}.zip", {**files, "not/listed.png": b""})
    lines = [f"some/{name}{path.name}\t{NAMES.index(name)}\n" for name, path in pictures(source)]
    (to / f"{part}_map.txt").write_text("".join(lines))
    (to / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))


def as_shards(source: Path, to: Path, part: str) -> None:
    """Two shards, labels of all kinds; one name is longer than a tar header holds."""
    files: list[dict[str, bytes]] = [{}, {}]
    for index, (name, path) in enumerate(pictures(source)):
        shard, key = files[2 * index // len(pictures(source))], f"./{'long' * 40}/{name}{path.stem}"
        shard[f"{key}.PNG"] = path.read_bytes()
        shard[f"{key}.txt"] = b"of no interest"
        if index % 2:
            shard[f"{key}.cls"] = f"{name}\n".encode()
        else:
            shard[f"{key}.json"] = json.dumps({"label" if index % 4 else "cls": name}).encode()
    for number, shard in enumerate(files):
        pack_tar(to / f"{part}-{number:06}.tar", shard)


def as_shard_folder(source: Path, to: Path, part: str) -> None:
    (to / part).mkdir()
    files = {f"{name}{path.stem}.png": path.read_bytes() for name, path in pictures(source)}
    files |= {f"{name}{path.stem}.cls": b"%d" % NAMES.index(name) for name, path in pictures(source)}
    pack_tar(to / part / "0.tar", files)
    (to / part / "classes.txt").write_text("\n".join(NAMES))


def as_inaturalist(source: Path, to: Path, part: str) -> None:
    """Ids that are not positions, annotations in another order than images; every second photo has time and place."""
    shutil.copytree(source, to / "files" / part)
    images = [
        {"id": 100 + 7 * index, "file_name": f"files/{part}/{name}/{path.name}", "name": name}
        for index, (name, path) in enumerate(pictures(source))
    ]
    content = {
        "images": images,
        "annotations": [
            {"id": 1, "image_id": image["id"], "category_id": 50 - NAMES.index(str(image["name"]))}
            for image in reversed(images)
        ],
        "categories": [{"id": 50 - index, "name": name, "supercategory": "x"} for index, name in enumerate(NAMES)],
    }
    where = {"lat": 30.0, "lon": -60.0, "loc_uncert": None, "date": "2017-04-30 23:59:59+00:00", "user_id": 1}
    (to / f"{part}2018.json").write_text(json.dumps(content))
    (to / f"{part}2018_locations.json").write_text(json.dumps([{"id": i["id"], **where} for i in images[::-2]]))


KINDS: dict[str, Callable[[Path, Path, str], None]] = {
    name.removeprefix("as_"): function for name, function in list(globals().items()) if name.startswith("as_")
}


def build(kind: str, source: Path, to: Path) -> Path:
    to.mkdir()
    for part in ("train", "val"):
        KINDS[kind](source, to, part)
    return to
