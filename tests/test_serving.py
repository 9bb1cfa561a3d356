"""Requests to real servers: answers are the predictor's own, faults are told apart, nothing accepted is lost."""

import base64
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from helpers.commands import run
from helpers.servers import CELLS, CLASSIFIER, DETECTOR, HOST, PHOTOS, Answer, Served, form, served
from PIL import Image

import internimage as ii
from internimage.inference.writing import write_results
from internimage.settings.views import DisplayOptions

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Both shipped kinds, with a token."""
    token = tmp_path_factory.mktemp("token") / "token.txt"
    token.write_text(f"{TOKEN}\n")
    options = ("--token-file", token, "--max-body-mb", "2", "--body-seconds", "1", "--threads", "1")
    with served(f"cells={DETECTOR}", CLASSIFIER, *options) as running:
        running.wait_for("ready: curl")
        yield running


@pytest.fixture(scope="module")
def predictors() -> dict[str, ii.Predictor]:
    return {"cells": ii.Predictor(DETECTOR, device="cpu"), CLASSIFIER: ii.Predictor(CLASSIFIER, device="cpu")}


def asked(server: Served, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
    return server.ask(path, body, method, Authorization=f"Bearer {TOKEN}", **headers)


def expected(predictor: ii.Predictor, file: Path, name: str, shown: DisplayOptions) -> dict[str, Any]:
    return {**predictor.spec.to_dict(predictor(file), shown), "image": name}


def close(found: Any, wanted: Any) -> bool:
    """Equal but for the rounding of other threads and batches."""
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(close(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return found == (pytest.approx(wanted, rel=1e-4, abs=1e-4) if isinstance(wanted, float) else wanted)


@pytest.mark.parametrize(
    ("model", "file", "options", "shown"),
    [
        ("cells", CELLS[0], {}, DisplayOptions()),
        ("cells", CELLS[1], {"score_threshold": 0.8}, DisplayOptions(score_threshold=0.8)),
        (CLASSIFIER, PHOTOS[0], {"topk": 2}, DisplayOptions(2)),
    ],
)
def test_answers_are_the_predictors(
    model: str,
    file: Path,
    options: dict[str, Any],
    shown: DisplayOptions,
    server: Served,
    predictors: dict[str, ii.Predictor],
) -> None:
    """The same picture as bytes, in a form, in JSON, as a tensor and as a binary tensor."""
    wanted, content = expected(predictors[model], file, "image 1", shown), file.read_bytes()
    path = f"/predict?{urlencode({'model': model, **options})}"
    text = base64.b64encode(content).decode()
    body, kind = form(("image 1", content))
    for answer in (
        asked(server, path, content),
        asked(server, path, body, Content_Type=kind),
        asked(server, path, json.dumps({"images": [text]}).encode(), Content_Type="application/json"),
        asked(
            server,
            path,
            json.dumps({"images": [{"base64": f"data:image/jpeg;base64,{text}"}]}).encode(),
            Content_Type="application/json",
        ),
    ):
        assert answer.status == 200, answer.body
        assert answer.json()["model"] == model
        assert close(answer.json()["results"], [wanted])
    tensor: dict[str, Any] = {"name": "picture", "shape": [1], "datatype": "BYTES"}
    inference = {"id": "7", "inputs": [{**tensor, "data": [text]}], "parameters": options}
    answer = asked(server, f"/v2/models/{model}/infer", json.dumps(inference).encode())
    (output,) = answer.json()["outputs"]
    assert answer.json()["id"] == "7"
    assert (output["shape"], output["datatype"]) == ([1], "BYTES")
    assert close(json.loads(output["data"][0]), wanted)
    element = struct.pack("<I", len(content)) + content
    inference["inputs"] = [{**tensor, "parameters": {"binary_data_size": len(element)}}]
    inference["outputs"] = [{"name": "result", "parameters": {"binary_data": True}}]
    head = json.dumps(inference).encode()
    answer = asked(server, f"/v2/models/{model}/infer", head + element, Inference_Header_Content_Length=str(len(head)))
    cut = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.body[:cut])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(answer.body) - cut
    assert close(json.loads(answer.body[cut + 4 :]), wanted)


def test_pictures_and_coco_are_what_predict_writes(
    server: Served, predictors: dict[str, ii.Predictor], tmp_path: Path
) -> None:
    predictor = predictors["cells"]
    drawn = asked(server, "/predict?format=png&score_threshold=0.5", CELLS[0].read_bytes())
    picture = np.asarray(Image.open(io.BytesIO(drawn.body)), int)
    wanted = np.asarray(predictor(CELLS[0]).draw(0.5), int)
    assert picture.shape == wanted.shape
    assert (np.abs(picture - wanted).max(-1) > 40).mean() < 1e-3  # a box may end a pixel further
    body, kind = form(*((file.name, file.read_bytes()) for file in CELLS[:2]))
    answer = asked(server, "/predict?format=coco", body, Content_Type=kind).json()
    write_results(predictor, CELLS[:2], "coco", tmp_path)
    written = json.loads((tmp_path / "annotations.json").read_text())
    assert close(answer["annotations"], written["annotations"])
    assert close(answer["images"], written["images"])
    assert answer["categories"] == written["categories"]


def test_of_several_pictures_one_that_is_none_has_an_error(server: Served) -> None:
    body, kind = form(("good.jpg", CELLS[0].read_bytes()), ("bad.jpg", b"not a picture"))
    good, bad = asked(server, "/predict", body, Content_Type=kind).json()["results"]
    assert good["image"] == "good.jpg"
    assert good["objects"]
    assert bad["image"] == "bad.jpg"
    assert bad["error"]["code"] == "picture_failed"
    assert "not an image in a known format" in bad["error"]["message"]


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in a few kilobytes."""
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    return content.getvalue()


JSON, FORM = "application/json", "multipart/form-data; boundary=c"
PART = b'Content-Disposition: form-data; name="f"; filename="\xc3\xa4.jpg"\r\n\r\n' + CELLS[0].read_bytes()


def tensor(parameters: dict[str, Any], shape: Sequence[int] = (1,)) -> bytes:
    one = {"name": "picture", "datatype": "BYTES", "shape": shape, "data": ["AA=="]}
    return json.dumps({"inputs": [one], "parameters": parameters}).encode()


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "code", "message"),
    [
        ("/predict?model=cat", b"x", "", 404, "unknown_model", "there are: cells"),
        ("/predict?top=3", b"x", "", 400, "bad_option", "top is no option; there are format, model"),
        ("/predict?topk=3", b"x", "", 400, "bad_option", "topk says nothing of the results of a detector"),
        ("/predict?score_threshold=2", b"x", "", 400, "bad_option", "score_threshold is 2"),
        ("/predict?format=xml", b"x", "", 400, "bad_option", "format: Input should be"),
        ("/predict?format=classes", CELLS[0].read_bytes(), "", 400, "request_failed", "no answer of the format 'cl"),
        (f"/predict?model={CLASSIFIER}&format=coco", b"x", "", 400, "bad_option", "answers in json, png"),
        ("/predict", b"", "", 400, "no_picture", "send its bytes as the body"),
        ("/predict", b"x", "text/html", 415, "unknown_type", "Content-Type is text/html"),
        ("/predict", b"garbage", "", 422, "picture_failed", "image 1: not an image in a known format"),
        ("/predict", CELLS[0].read_bytes()[:9000], "", 422, "picture_failed", "cannot be read"),
        ("/predict", bomb(), "", 422, "picture_failed", "20000x20000 pixels where Pillow's limit"),
        ("/predict", bytes(200 << 20), "", 413, "too_large", "larger than 2 MB"),
        ("/predict", b"{", JSON, 400, "bad_json", 'expected {"images"'),
        ("/predict", b'{"image": "x"}', JSON, 400, "bad_json", "cannot be read"),
        ("/predict", b'{"images": []}', JSON, 400, "no_picture", "has no picture"),
        ("/predict", b'{"images": ["?"]}', JSON, 400, "bad_base64", "image 1 is not base64"),
        ("/predict", b'{"images": [{"url": "http://x/"}]}', JSON, 403, "no_urls", "fetches no addresses"),
        ("/predict", json.dumps({"images": ["AA=="] * 40}).encode(), JSON, 413, "too_many", "40 pictures"),
        ("/predict", b"x", "multipart/form-data", 400, "bad_form", "cannot be read"),
        ("/predict", b"--c--", "multipart/form-data; boundary=c", 400, "no_picture", "has no picture"),
        ("/predict?topk=3&topk=3", b"x", "", 400, "bad_option", "an option is there twice"),
        (f"/predict?model={CLASSIFIER}&topk={10**30}", b"x", "", 400, "bad_option", "1000000 at most"),
        ("/predict", b"--c\r\n" + PART + b"\r\n--c\r\n" + PART[:70], FORM, 400, "bad_form", "has no end"),
        ("/predict", b"--c\r\n" + PART + b"\r\n--c--", f"{FORM}; charset=undefined", 400, "bad_form", "cannot be read"),
        ("/predict", b'{"images": [' + b'"",' * 10_000 + b'""]}', JSON, 413, "too_many", "send them in several"),
        ("/v2/models/cells/infer", tensor({"topk": True}), JSON, 400, "bad_option", "topk is True"),
        ("/v2/models/cells/infer", tensor({"topk": 10**30}), JSON, 400, "bad_option", "1000000 at most"),
        ("/v2/models/cells/infer", tensor({}, [9] * 50_000), JSON, 400, "bad_request", "the shape [9, 9, 9"),
        ("/v2/models/cells/infer", tensor({}, [-1, -1]), JSON, 400, "bad_request", "has negative sides"),
        ("/v2/models/cat/infer", b"{}", JSON, 404, "unknown_model", "there are: cells"),
        ("/v2/models/cells/infer", b"{}", JSON, 400, "bad_request", "Open Inference Protocol"),
        ("/v2/repository/models/cat/load", b"", "", 404, "unknown_model", "was named when the server was started"),
        ("/nowhere", b"x", "", 404, "no_such_address", "GET /openapi.json lists"),
    ],
)
def test_what_is_wrong_is_said(
    path: str, body: bytes, kind: str, status: int, code: str, message: str, server: Served
) -> None:
    answer = asked(server, path, body, Content_Type=kind) if kind else asked(server, path, body)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert message in answer.message


def test_a_token_is_wanted_for_all_but_health(server: Served) -> None:
    for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": f"Basic {TOKEN}"}):
        for path in ("/predict", "/v2/models/cells/infer", "/v2/repository/index"):
            answer = server.ask(path, b"x", **headers)
            assert (answer.status, answer.code, answer.headers["www-authenticate"]) == (401, "no_token", "Bearer")
    assert server.ask("/metrics").status == 401
    assert server.ask("/v2/health/live").json() == {"live": True}
    assert server.ask("/v2/health/ready").json() == {"ready": True}


def test_models_come_and_go_by_name(server: Served) -> None:
    def states() -> dict[str, str]:
        return {one["name"]: one["state"] for one in asked(server, "/v2/repository/index", b"").json()}

    assert asked(server, f"/v2/repository/models/{CLASSIFIER}/unload", b"").json()["state"] == "UNAVAILABLE"
    assert states() == {"cells": "READY", CLASSIFIER: "UNAVAILABLE"}
    assert asked(server, f"/predict?model={CLASSIFIER}", PHOTOS[0].read_bytes()).code == "unknown_model"
    assert asked(server, f"/v2/models/{CLASSIFIER}/ready").status == 503
    assert asked(server, f"/v2/repository/models/{CLASSIFIER}/load", b"").json()["state"] == "READY"
    assert asked(server, f"/predict?model={CLASSIFIER}", PHOTOS[0].read_bytes()).status == 200
    metadata = asked(server, f"/v2/models/{CLASSIFIER}").json()
    assert metadata["inputs"] == [{"name": "picture", "datatype": "BYTES", "shape": [-1]}]
    assert metadata["parameters"]["task"] == "classification"
    assert len(metadata["parameters"]["labels"]) == len(metadata["parameters"]["colours"]) == 10


def test_what_is_counted_and_logged_names_no_picture(server: Served) -> None:
    body, kind = form(("secret-name.jpg", CELLS[0].read_bytes()))
    before = metric(server, 'internimage_requests_total{model="cells",status="200"}')
    assert asked(server, "/predict", body, Content_Type=kind).status == 200
    assert asked(server, "/predict", *form(("secret-name.jpg", b"no picture"))[:1], Content_Type=kind).status == 422
    assert metric(server, 'internimage_requests_total{model="cells",status="200"}') == before + 1
    assert metric(server, "internimage_workers") == 1
    assert metric(server, 'internimage_errors_total{kind="picture"}') >= 1
    server.wait_for("POST /predict 422")
    assert "secret" not in "".join(server.said)


def metric(server: Served, name: str) -> float:
    lines = asked(server, "/metrics").body.decode().splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def test_the_description_is_of_the_addresses_that_there_are(server: Served) -> None:
    description = asked(server, "/openapi.json").json()
    assert {"/predict", "/v2/models/{name}/infer", "/v2/health/ready"} <= set(description["paths"])
    wanted = {"model", "format", "topk", "score_threshold"}
    assert {one["name"] for one in description["paths"]["/predict"]["post"]["parameters"]} == wanted
    assert server.ask("/").status == 404  # no page unless asked for


@pytest.mark.parametrize(
    ("start", "rest", "expected"),
    [
        (b"", b"", b""),  # says nothing
        (b"POST /predict HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n", b""),  # headers that do not end
        (
            f"POST /predict HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 99\r\n\r\n".encode(),
            b"x",
            b"408",
        ),
    ],
    ids=["silent", "headers", "body"],
)
def test_slow_clients_are_sent_away(start: bytes, rest: bytes, expected: bytes, server: Served) -> None:
    """After one second of patience with bodies, two with all else."""
    with socket.create_connection((HOST, server.port), timeout=10) as connection:
        connection.sendall(start)
        began = time.monotonic()
        time.sleep(0.3)
        connection.sendall(rest)
        said = b""
        while chunk := connection.recv(1 << 16):
            said += chunk
    assert time.monotonic() - began < 6
    assert said.split(b" ", 2)[1:2] == ([expected] if expected else [])


def test_what_clients_say_beside_their_pictures_is_heard_or_refused(server: Served) -> None:
    """Offers of HTTP/2 (Java) are not taken, the body stays; headers have a bound; paths write no lines of the log."""
    content = CELLS[0].read_bytes()
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAAP__"}
    assert asked(server, "/predict", content, **offer).status == 200
    body, kind = form(("+2AA-.jpg", content))
    answer = asked(server, "/predict", body, Content_Type=f"{kind}; charset=utf-7")
    assert answer.status in (200, 400)  # a name that is no text, whatever becomes of it
    assert asked(server, "/predict", content).status == 200
    with socket.create_connection((HOST, server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 70_000)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 431 ")
    assert server.ask("/v2/health/live", method="HEAD").status == 200
    server.ask("/a%0Ainternimage:%20forged")
    assert "GET /a%0Ainternimage%3A%20forged 404" in server.wait_for("forged")
    lines = "\n".join(["AAAA"] * 3)
    bad = asked(server, "/predict", json.dumps({"images": [lines]}).encode(), Content_Type=JSON)
    assert bad.code == "picture_failed"  # base64 of several lines is read


@pytest.mark.full
def test_a_worker_that_hangs_is_ended_and_replaced() -> None:
    """Its requests end with 504; a minute beyond twice their time another worker answers."""
    with served(CLASSIFIER, "--threads", "1", "--seconds", "1") as server:
        server.wait_for("ready: curl")
        os.kill(workers_of(server)[0], signal.SIGSTOP)
        assert server.ask("/predict", PHOTOS[0].read_bytes()).code == "too_slow"
        server.wait_for("worker 0 has not answered for 62 s; it is ended", 90)
        end = time.monotonic() + 60
        while server.ask("/predict", PHOTOS[0].read_bytes()).status != 200:
            assert time.monotonic() < end
            time.sleep(0.5)
        assert not [line for line in server.said if "never retrieved" in line]


@pytest.mark.full
def test_a_killed_worker_costs_its_own_pictures_alone() -> None:
    """What it has gets an error, what waits is answered by the next one; SIGTERM then answers what is here."""
    with served(DETECTOR, "--threads", "1", "--batch", "1") as server:
        server.wait_for("ready: curl")
        answers = started(server, 8)
        while metric_of(server, "internimage_queue_pictures") > 5 or not metric_of(
            server, "internimage_batch_pictures_sum"
        ):
            time.sleep(0.005)
        os.kill(workers_of(server)[0], signal.SIGKILL)
        statuses = [answer.status for answer in answers()]
        assert 1 <= statuses.count(500) <= 2
        assert statuses.count(200) == 8 - statuses.count(500)
        server.wait_for("worker 0 died; it is started again")
        answers = started(server, 6)
        while metric_of(server, "internimage_queue_pictures") < 3:
            time.sleep(0.002)
        server.process.terminate()
        assert [answer.status for answer in answers()] == [200] * 6
        assert server.process.wait(30) == 0


def workers_of(server: Served) -> list[int]:
    process = server.process.pid
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.full
def test_a_model_that_is_deleted_is_missed_by_the_next_worker_and_found_again(tmp_path: Path) -> None:
    """What waits is told so at once, others go on, and nobody has to start the server again."""
    folder, away = tmp_path / "cells", tmp_path / "away"
    ii.save_model(ii.create_model(DETECTOR, pretrained=True), folder)
    content = CELLS[0].read_bytes()
    with served(folder, CLASSIFIER, "--threads", "1") as server:
        server.wait_for("ready: curl")
        folder.rename(away)
        assert server.ask("/predict", content).status == 200
        os.kill(workers_of(server)[0], signal.SIGKILL)
        server.wait_for("worker 0 cannot load cells: ")
        for _ in range(2):  # while it is known, and while it is tried again
            answer = server.ask("/predict", content)
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "not_loaded", "10")
            assert "cells cannot be loaded" in answer.message
        assert server.ask("/v2/health/ready").status == 503
        assert server.ask("/v2/health/live").status == 200
        while server.ask(f"/predict?model={CLASSIFIER}", PHOTOS[0].read_bytes()).status == 503:
            time.sleep(0.1)
        away.rename(folder)
        end = time.monotonic() + 40
        while server.ask("/predict", content).status != 200:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert server.ask("/v2/health/ready").status == 200


def started(server: Served, count: int) -> Any:
    """Requests in threads; what gives their answers."""
    found: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: found.append(server.ask("/predict", CELLS[0].read_bytes())))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()

    def answers() -> list[Answer]:
        for thread in threads:
            thread.join()
        assert len(found) == count
        return found

    return answers


def metric_of(server: Served, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in server.ask("/metrics").body.decode().splitlines()
        if line.startswith(name)
    )


def test_the_lines_of_the_readme_serve_and_ask(tmp_path: Path) -> None:
    """With curl where there is one, with the same request where there is none."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    start, line = (re.search(rf"^{word} .*$", text, re.MULTILINE) for word in ("internimage serve", "curl"))
    assert start
    assert line
    shutil.copy(CELLS[0], tmp_path / "photo.jpg")
    with served(*shlex.split(start[0])[2:]) as server:
        server.wait_for("ready: curl")
        words = shlex.split(line[0].replace(":8000", f":{server.port}"))
        if shutil.which("curl"):
            said = subprocess.run([*words, "--silent"], cwd=tmp_path, capture_output=True, check=True).stdout
        else:
            assert words[1:3] == ["--data-binary", "@photo.jpg"]
            said = server.ask(words[3].partition(str(server.port))[2], CELLS[0].read_bytes()).body
        assert len(json.loads(said)["results"][0]["objects"]) > 10
        assert b"Choose pictures" in server.ask("/").body


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model given"),
        (["nothing_like_it"], "nothing_like_it"),
        ([DETECTOR, DETECTOR], "two models have the same name"),
        (["a b=" + DETECTOR], "cannot be called 'a b' in addresses"),
        ([DETECTOR, "--queue", "0"], "--queue is 0; expected 1 or more"),
        ([DETECTOR, "--memory-mb", "1"], "would never be taken"),
        ([DETECTOR, "--token-file", "missing.txt"], "cannot be read"),
        ([DETECTOR, "--tile", "8"], "8"),
    ],
)
def test_servers_that_cannot_be_say_why(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", *arguments, "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
