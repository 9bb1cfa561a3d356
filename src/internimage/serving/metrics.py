"""What a server counts, as Prometheus reads it (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from internimage.serving.batching import Pending

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server, which share nothing with those of another in the same process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "internimage_requests",
            "Requests for predictions by model and status.",
            ("model", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "internimage_request_seconds",
            "From a request's first byte to its answer.",
            ("model",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.waited = Histogram(
            "internimage_queue_seconds",
            "How long a picture waited for a worker.",
            ("model",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "internimage_batch_pictures",
            "Pictures that went through a model together.",
            ("model",),
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64),
        )
        self.errors = Counter("internimage_errors", "What was not answered, by kind.", ("kind",), registry=registry)
        self.queue = Gauge("internimage_queue_pictures", "Pictures that wait for a worker.", registry=registry)
        self.workers = Gauge("internimage_workers", "Worker processes that run.", registry=registry)
        self.restarts = Counter("internimage_worker_restarts", "Workers that died.", registry=registry)

    def batched(self, some: Sequence[Pending]) -> None:
        """Pictures leave the queue together."""
        model, now = some[0].model, time.monotonic()
        self.batches.labels(model).observe(len(some))
        for one in some:
            self.waited.labels(model).observe(now - one.arrived)

    def failed(self, kind: str) -> None:
        """Something was not answered."""
        self.errors.labels(kind).inc()

    def died(self) -> None:
        """A worker ended that was not to end."""
        self.restarts.inc()

    def text(self) -> bytes:
        """All numbers."""
        return generate_latest(self.registry)
