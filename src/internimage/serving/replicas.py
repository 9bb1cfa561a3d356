"""The server behind Ray Serve, which starts and ends replicas of it as requests come and go.

Ray Serve's configuration imports :func:`build`; docs/deploy.md has one.  Each replica is the whole server of
``internimage serve``, with its queue and limits, and its one worker process on the processors and GPUs of the replica.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
from fastapi import FastAPI

from internimage.errors import ConfigError, MissingExtraError
from internimage.serving.log import say
from internimage.serving.metrics import Metrics
from internimage.serving.pool import Pool
from internimage.serving.settings import ServedModel, ServingSettings, WorkerSettings
from internimage.serving.web.app import create_app


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """What the configuration's ``args`` may be.

    Attributes:
        models: as on the command line.
        serving, worker: settings that differ from their defaults.
    """

    models: list[str]
    serving: dict[str, Any] = {}
    worker: dict[str, Any] = {}


def build(arguments: dict[str, Any]) -> Any:
    """The application for Ray Serve.

    Args:
        arguments: see :class:`Arguments`.

    Raises:
        ConfigError: they are others.
        MissingExtraError: Ray is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtraError("replicas need Ray: pip install 'internimage[ray]'") from error
    models, serving, worker = read(arguments)

    def application() -> FastAPI:
        metrics = Metrics()
        return create_app(Pool(models, serving, worker, metrics, say), metrics)

    @serve.deployment(name="internimage")
    @serve.ingress(application)
    class Replica:
        """The server, inside of Ray."""

    return Replica.bind()  # type: ignore[attr-defined]


def read(arguments: dict[str, Any]) -> tuple[list[ServedModel], ServingSettings, WorkerSettings]:
    """Models and settings from a configuration.

    Raises:
        ConfigError: it has something else.
    """
    try:
        given = msgspec.convert(arguments, Arguments)
        serving, worker = msgspec.convert(given.serving, ServingSettings), msgspec.convert(given.worker, WorkerSettings)
        for settings, known in ((given.serving, serving), (given.worker, worker)):
            names = [field.name for field in fields(known)]
            if unknown := sorted(set(settings) - set(names)):
                raise ConfigError(f"{unknown[0]} is no setting; there are {', '.join(names)}")
    except msgspec.ValidationError as error:
        raise ConfigError(f"the arguments of the application are not understood: {error}") from error
    if not given.models:
        raise ConfigError("the arguments of the application name no models")
    return [ServedModel.parse(one) for one in given.models], serving, worker
