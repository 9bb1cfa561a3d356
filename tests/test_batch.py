"""Folders and buckets through a model: one row a picture, errors as rows, nothing twice whatever is killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from helpers.commands import run
from helpers.servers import CELLS, CLASSIFIER, DETECTOR, PHOTOS

import internimage as ii
from internimage.batch.job import open_job
from internimage.batch.storage import Storage
from internimage.errors import ConfigError, DataError
from internimage.serving.settings import WorkerSettings
from internimage.settings.views import DisplayOptions


def album(folder: Path, count: int, files: Sequence[Path] = PHOTOS) -> Path:
    """So many pictures in two folders, the third of which is none."""
    for number in range(count):
        target = folder / f"part{number % 2}" / f"{number:04d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[number % len(files)], target)
    (folder / "part0" / "0002.jpg").write_bytes(b"no picture")
    (folder / "part0" / ".hidden.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    os.mkfifo(folder / "pipe.jpg")  # nobody would ever write into it
    return folder


def rows(output: Path) -> list[dict[str, Any]]:
    """All lines, in the order of the files; the tables have the same."""
    lines = [json.loads(line) for file in sorted(output.glob("*.jsonl")) for line in file.read_text().splitlines()]
    tables = [row for file in sorted(output.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    assert [row["image"] for row in tables] == [line["image"] for line in lines]
    assert [row["error"] for row in tables] == [line.get("error") for line in lines]
    assert [json.loads(row["result"]) for row in tables if row["result"]] == [
        line for line in lines if "error" not in line
    ]
    return lines


def odd_names(folder: Path) -> list[bytes]:
    """Pictures whose names are not UTF-8, or have a backslash."""
    names = [b"back\\slash.jpg", b"latin\xff.jpg"]
    for name in names:
        shutil.copy(PHOTOS[0], folder / os.fsdecode(name))
    return names


def test_names_of_any_bytes_are_rows(tmp_path: Path) -> None:
    source, output = tmp_path / "a::b", tmp_path / "results"
    source.mkdir()
    names = odd_names(source)
    assert run(["batch", source, "--model", CLASSIFIER, "--output", output, "--threads", "1"]) == 0
    (file,) = output.glob("*.jsonl")
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(os.fsencode(row["image"]) for row in found) == names
    assert all(row["predictions"] for row in found)
    table = pq.read_table(output / "part-000000.parquet").to_pylist()
    assert [row["image"] for row in table] == ["back\\slash.jpg", "latin?.jpg"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("job.json", "{", "job.json is damaged or gone; name a new folder"),
        ("pictures.json", None, "pictures.json is damaged or gone"),
        ("job.json", None, None),  # ended between the two: begins anew
    ],
)
def test_jobs_whose_plan_is_damaged_say_so(file: str, content: str | None, message: str | None, tmp_path: Path) -> None:
    source, output = album(tmp_path / "photos", 3), tmp_path / "results"
    given = (str(source), str(output), CLASSIFIER, WorkerSettings(threads=1), DisplayOptions(5, 0.05), 2)
    open_job(*given)
    (output / file).unlink() if content is None else (output / file).write_text(content)
    if message is None:
        assert open_job(*given)[0].parts == 2
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        open_job(*given)


def labels(row: dict[str, Any]) -> tuple[str, list[str]]:
    """What does not depend on the company that a picture had in its batch."""
    return row["image"], [one["label"] for one in row.get("predictions", [])[:1]]


def pictures(source: Path) -> list[str]:
    return sorted(file.relative_to(source).as_posix() for file in source.rglob("[0-9]*.jpg"))


def test_each_picture_is_a_row_with_the_predictors_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = album(tmp_path / "photos", 5, CELLS), tmp_path / "results"
    command = ["batch", source, "--model", DETECTOR, "--output", output, "--part", "2", "--threads", "1"]
    assert run([*command, "--score-threshold", "0.5"]) == 0
    said = capsys.readouterr()
    assert "5 pictures, 1 of them with errors, in 3 files" in said.out
    assert "2 files of other kinds left out, such as notes.txt" in said.err
    found = rows(output)
    assert [row["image"] for row in found] == pictures(source)
    predict, shown = ii.Predictor(DETECTOR, device="cpu"), DisplayOptions(score_threshold=0.5)
    for row in found:
        if "error" in row:
            assert row["image"] == "part0/0002.jpg"
            assert "not an image in a known format" in row["error"]
            continue
        wanted = predict.spec.to_dict(predict(source / row["image"]), shown)
        assert [one["label"] for one in row["objects"]] == [one["label"] for one in wanted["objects"]]
        for one, other in zip(row["objects"], wanted["objects"], strict=True):
            assert one["box"] == pytest.approx(other["box"], abs=0.01)
    table = pq.read_table(output / "part-000000.parquet").to_pylist()[0]
    objects = found[0]["objects"]
    assert table["label"] == [one["label"] for one in objects]
    assert table["x2"] == pytest.approx([one["box"][2] for one in objects], abs=0.06)
    assert json.loads((output / "summary.json").read_text())["errors"] == 1


@pytest.mark.full
def test_what_is_there_stays_and_what_is_not_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = album(tmp_path / "photos", 6), tmp_path / "results"
    command = ["batch", source, "--model", CLASSIFIER, "--output", output, "--part", "2", "--threads", "1"]
    assert run(command) == 0
    before = rows(output)
    times = {file.name: file.stat().st_mtime_ns for file in output.glob("part-*")}
    (output / "part-000001.jsonl").unlink()  # stopped between its two files
    shutil.copy(PHOTOS[0], source / "part1" / "0099.jpg")
    capsys.readouterr()
    assert run(command) == 0
    said = capsys.readouterr().err
    assert "1 picture came after the job began" in said
    assert "2 of 3 files are there already" in said
    assert [labels(row) for row in rows(output)] == [labels(row) for row in before]
    changed = {file.name for file in output.glob("part-*") if file.stat().st_mtime_ns != times[file.name]}
    assert changed == {"part-000001.jsonl", "part-000001.parquet"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--model": DETECTOR}, "has a job whose model is"),
        ({"--topk": 3}, "has a job whose topk is 5, not 3"),
        ({"--output": "{source}/results"}, "where pictures are read"),
        ({"--output": "{other}"}, "has other files in it, such as notes.txt"),
        ({"source": "nowhere"}, "is no folder"),
        ({"source": "{other}"}, "has no pictures"),
        ({"source": "nothing://x"}, "nothing is known to open nothing://"),
        ({"--processes": 0}, "--processes is 0"),
        ({"--part": 0}, "--part is 0"),
        ({"--model": "nothing_like_it", "--output": "{new}"}, "nothing_like_it"),
    ],
)
def test_jobs_that_cannot_be_say_why(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, other = album(tmp_path / "photos", 3), tmp_path / "results", tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("")
    plan = {"--model": CLASSIFIER, "--output": str(output), "--part": 2, "--threads": 1}
    if "has a job" in message:
        shown = DisplayOptions(5, 0.05)
        open_job(str(source), str(output), CLASSIFIER, WorkerSettings(threads=1), shown, 2)
    given = {"source": str(source), **plan, **changes}
    places = {"source": source, "other": other, "new": tmp_path / "new"}
    words = {name: str(value).format(**places) for name, value in given.items()}
    place = words.pop("source")
    assert run(["batch", place, *sum(words.items(), ())]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_storage_in_memory_is_read_and_written_as_a_folder() -> None:
    """fsspec's own memory stands for a bucket."""
    place = Storage("memory://bucket/photos")
    for name in ("b.jpg", "a/c.png", "a/.d.png", "notes.txt"):
        place.write(name, name.encode())
    assert place.pictures() == (["a/c.png", "b.jpg"], ["notes.txt"])
    assert place.names() == {"a", "b.jpg", "notes.txt"}
    assert place.read("b.jpg") == b"b.jpg"
    assert place.read("gone.jpg") is None
    names = [f"{number}.jpg" for number in range(40)]
    for name in names[::2]:
        place.write(name, name.encode())
    expected = [name if number % 2 == 0 else f"{name}: no such file" for number, name in enumerate(names)]
    found = [one.decode() if isinstance(one, bytes) else str(one) for _, one in place.read_ahead(names, 7)]
    assert found == expected


class Bucket(MemoryFileSystem):
    """Names without contents."""

    protocol = ("bucket",)

    def cat_file(self, *_: Any, **__: Any) -> bytes:
        raise PermissionError("ExpiredToken")


class Disk(Bucket):
    protocol = ("disk", "file")


def test_a_file_that_may_not_be_read_is_a_row_and_of_a_bucket_the_end() -> None:
    """A file has an owner of its own; credentials that have run out are those of all that follows."""
    for kind in (Bucket, Disk):
        fsspec.register_implementation(kind.protocol[0], kind)
    with pytest.raises(DataError, match=r"b\.jpg may not be read: ExpiredToken"):
        Storage("bucket://photos").picture("b.jpg")
    assert str(Storage("disk://photos").picture("b.jpg")) == "b.jpg: may not be read by this user"


def killed_twice(command: Sequence[object], victims: Callable[[int], list[int]], parts: Callable[[], int]) -> int:
    """Run a job and kill one of its processes after the first and after the third part; its exit status."""
    with subprocess.Popen([sys.executable, "-m", "internimage", *map(str, command)], stderr=subprocess.PIPE) as job:
        for done in (1, 3):
            while parts() < done:
                assert job.poll() is None, job.stderr and job.stderr.read()
                time.sleep(0.01)
            os.kill(victims(job.pid)[0], signal.SIGKILL)
        return job.wait(300)


def children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.full
def test_processes_that_are_killed_cost_no_row_and_repeat_none(tmp_path: Path) -> None:
    """Of two processes one dies twice; then the whole job dies, and goes on where it was."""
    source, output = album(tmp_path / "photos", 400), tmp_path / "results"
    command = ["batch", source, "--model", CLASSIFIER, "--output", output, "--part", "20", "--processes", "2"]
    assert killed_twice(command, children, lambda: len(list(output.glob("*.jsonl")))) == 0
    found = rows(output)
    assert [row["image"] for row in found] == pictures(source)
    assert sum("error" in row for row in found) == 1
    for file in sorted(output.glob("part-*"))[10:]:
        file.unlink()
    with subprocess.Popen([sys.executable, "-m", "internimage", *map(str, command)], stderr=subprocess.DEVNULL) as job:
        while len(list(output.glob("*.jsonl"))) < 8:
            time.sleep(0.01)
        job.kill()
    kept = {file.name: file.stat().st_mtime_ns for file in output.glob("*.jsonl")}
    assert run(command) == 0
    assert [labels(row) for row in rows(output)] == [labels(row) for row in found]
    assert all((output / name).stat().st_mtime_ns == time for name, time in kept.items())


@pytest.mark.full
def test_a_job_whose_model_is_gone_ends_and_goes_on_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, folder = album(tmp_path / "photos", 200), tmp_path / "results", tmp_path / "clothing"
    ii.save_model(ii.create_model(CLASSIFIER, pretrained=True), folder)
    command = ["batch", source, "--model", folder, "--output", output, "--part", "5", "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "internimage", *map(str, command)], stderr=subprocess.PIPE, text=True
    ) as job:
        while len(list(output.glob("*.jsonl"))) < 2:
            time.sleep(0.01)
        folder.rename(tmp_path / "away")
        os.kill(children(job.pid)[0], signal.SIGKILL)
        _, said = job.communicate(timeout=60)
    assert job.returncode == 1
    assert "model cannot be loaded" in said
    assert "Traceback" not in said
    (tmp_path / "away").rename(folder)
    assert run(command) == 0
    assert "are there already and stay" in capsys.readouterr().err
    assert [row["image"] for row in rows(output)] == pictures(source)


@pytest.mark.full
def test_a_cluster_gives_the_same_rows_whatever_is_killed(tmp_path: Path) -> None:
    """Ray with two actors on this machine, one of which dies twice."""
    source, output = album(tmp_path / "photos", 200), tmp_path / "results"
    command = ["batch", source, "--model", CLASSIFIER, "--part", "10", "--processes", "2", "--threads", "1"]

    def actors(_: int) -> list[int]:
        found = subprocess.run(["pgrep", "-f", "ray::.*Predicting|ray::Map"], capture_output=True, text=True).stdout
        return [int(one) for one in found.split()]

    status = killed_twice(
        [*command, "--output", output, "--on", "ray"], actors, lambda: len(list(output.glob("*.jsonl")))
    )
    assert status == 0
    assert [row["image"] for row in rows(output)] == pictures(source)
    assert run([*command, "--output", tmp_path / "local"]) == 0
    for one, other in zip(rows(output), rows(tmp_path / "local"), strict=True):
        assert labels(one) == labels(other)


@pytest.mark.full
def test_a_bucket_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 as moto serves it on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            monkeypatch.setenv(name, value)
        import s3fs

        bucket = s3fs.S3FileSystem()
        bucket.mkdir("bucket")
        source = album(tmp_path / "photos", 6)
        (source / "pipe.jpg").unlink()
        bucket.put(str(source), "bucket/photos", recursive=True)
        command = ["batch", "s3://bucket/photos", "--model", CLASSIFIER, "--output", "s3://bucket/results"]
        assert run([*command, "--part", "2", "--threads", "1"]) == 0
        bucket.get("bucket/results", str(tmp_path / "results"), recursive=True)
        found = rows(tmp_path / "results")
        assert [row["image"] for row in found] == pictures(source)
        assert sum("error" in row for row in found) == 1
    finally:
        server.stop()
