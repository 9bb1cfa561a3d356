"""The server behind Ray Serve, run from the configuration of docs/deploy.md."""

import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.servers import CELLS, DETECTOR, ask

import internimage as ii
from internimage.errors import ConfigError
from internimage.serving.replicas import read
from internimage.serving.settings import ServedModel

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"


def configuration() -> Any:
    (found,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return yaml.safe_load(found)


def test_the_arguments_of_the_page_are_settings() -> None:
    models, serving, worker = read(configuration()["applications"][0]["args"])
    assert models == [ServedModel("cells", DETECTOR)]
    assert (serving.queue, serving.log, worker.batch, worker.threads) == (16, "quiet", 8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "models"),
        ({"models": []}, "name no models"),
        ({"models": "cells"}, "Expected `array`"),
        ({"models": ["a"], "serving": {"quue": 3}}, "quue is no setting; there are host"),
        ({"models": ["a"], "worker": {"batch": 0}}, "--batch is 0"),
        ({"models": ["a"], "page": True}, "page"),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(arguments)


@pytest.mark.full
def test_ray_serves_the_page_configuration(tmp_path: Path) -> None:
    """Answers are the predictor's, of many at once each is answered or refused, and all ends with Ray."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {**configuration(), "http_options": {"host": "127.0.0.1", "port": port}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [str(Path(sys.executable).with_name("serve")), "run", "config.yaml"]
    patient = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120", "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120"}
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **patient}) as ray:
        try:
            end = time.monotonic() + 300
            while not ready(port):
                assert ray.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
            predict = ii.Predictor(DETECTOR, device="cpu")
            wanted = {file: len(predict(file).filter(0.3)) for file in CELLS}
            with ThreadPoolExecutor(40) as pool:
                answers = list(pool.map(lambda file: (file, ask(port, "/predict", file.read_bytes())), CELLS * 15))
            good = [(file, answer.json()["results"][0]["objects"]) for file, answer in answers if answer.status == 200]
            assert {answer.status for _, answer in answers} <= {200, 503}
            assert len(good) >= 16
            assert all(len(objects) == wanted[file] for file, objects in good)
            assert ask(port, "/metrics").status == 200
            assert ask(port, "/predict", b"none").code == "picture_failed"
        finally:
            ray.terminate()
            ray.wait(60)


def ready(port: int) -> bool:
    try:
        return ask(port, "/v2/health/ready").status == 200
    except OSError:
        return False
