"""internimage serve"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from internimage.cli.workers import WorkerOptions
from internimage.errors import ConfigError, MissingExtraError


@dataclass(frozen=True)
class Serve:
    """Answer requests for predictions over HTTP.

    $ internimage serve faster_rcnn_internimage_atto_bccd_320

    $ curl --data-binary @photo.jpg 'http://127.0.0.1:8000/predict?score_threshold=0.5'

    $ curl --data-binary @photo.jpg 'http://127.0.0.1:8000/predict?format=png' > drawn.png

    $ internimage serve cells=runs/cells clothing.onnx --page

    $ internimage serve runs/cells --host 0.0.0.0 --token-file token.txt --workers 4

    GET /openapi.json describes the addresses, /v2/... is the Open Inference Protocol (KServe v2), /metrics is for
    Prometheus. SIGTERM answers what is here and ends. Needs the extra serve: pip install 'internimage[serve]'.
    """

    models: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="MODEL...",
            help="Names (see `internimage models`), folders, runs, exported files; NAME=MODEL gives one another name.",
            help_behavior_hint="(required)",
        ),
    ]
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 takes requests from other machines."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    workers: Annotated[int, arg(metavar="N")] = 1
    """Processes that predict, each with all models. As many as there are cores give most pictures a second on a CPU."""
    batch: Annotated[int, arg(metavar="N")] = 4
    """Pictures that go through a model together at most; fewer wait for no others unless --wait-ms says so. A GPU takes
    more of them at once."""
    wait_ms: Annotated[float, arg(metavar="MS")] = 0.0
    """How long a picture waits for others to fill its batch, which pays on a GPU."""
    queue: Annotated[int, arg(metavar="N")] = 32
    """Pictures that wait at most; beyond them requests are refused at once with status 503."""
    token_file: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: open to all)")] = None
    """File of a token that requests must carry: Authorization: Bearer TOKEN. With it, models can be loaded and
    dropped by name."""
    max_body_mb: Annotated[float, arg(metavar="MB")] = 25.0
    """Size of a request at most."""
    memory_mb: Annotated[float, arg(metavar="MB")] = 512.0
    """Size of all requests that are here at most; beyond it they are refused with status 503."""
    seconds: Annotated[float, arg(metavar="S")] = 60.0
    """Time of a request, after which it is answered with status 504."""
    body_seconds: Annotated[float, arg(metavar="S")] = 10.0
    """Time in which a request must have arrived whole."""
    url_hosts: Annotated[tuple[str, ...], arg(metavar="HOST...", help_behavior_hint="(default: none)")] = ()
    """Hosts from which pictures are fetched when a request names their address; '*' for all with public addresses."""
    page: FlagCreatePairsOff[bool] = False
    """A page at / where people drop pictures."""
    log: Literal["quiet", "requests", "names"] = "requests"
    """What is written of requests: nothing, a line each, or also what their pictures are called."""
    worker: WorkerOptions = field(default_factory=WorkerOptions)

    def run(self) -> int:
        from internimage.serving.settings import ServedModel, ServingSettings, read_token

        if not self.models:
            raise ConfigError("no model given; name one or more (see `internimage models`)")
        models = [ServedModel.parse(one) for one in self.models]
        worker = self.worker.settings(self.batch)
        token = None if self.token_file is None else read_token(self.token_file)
        settings = ServingSettings(
            **{
                name: getattr(self, name)
                for name in ("host", "port", "workers", "wait_ms", "queue", "max_body_mb", "memory_mb", "seconds")
            },
            body_seconds=self.body_seconds,
            token=token,
            url_hosts=self.url_hosts,
            page=self.page,
            log=self.log,
        )
        if token is None and self.host not in ("127.0.0.1", "::1", "localhost"):
            print("internimage: open to all who reach this machine; --token-file closes it", file=sys.stderr)
        try:
            from internimage.serving.web.server import serve
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"serve needs {error.name}, which is not installed: pip install 'internimage[serve]'"
            ) from error
        serve(models, settings, worker)
        return 0
