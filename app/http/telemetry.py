"""What the service tells of itself: a request id for everything, one log line a request, and Prometheus metrics.

One middleware does all three, and by hand. `prometheus-fastapi-instrumentator` (8.1) matches every request against the
routes a second time; takes any method that a client makes up for a label; counts a stream of events only when it ends;
and keeps its gauge of requests in flight in the global registry, which applications in one process cannot share.
`asgi-correlation-id` (5.0) reads and answers the header, but binds the id neither to the log nor to the request, and
warns once for each id that it refuses: what is left to do around it is longer than what it does.
"""

import os
import random
import re
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.plain_requests import FAILED, Failed
from app.logs import log_answer
from app.redaction import redacted, redacted_path

REQUEST_ID = "X-Request-Id"
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The variable of the folder that several gateway processes count in; prometheus_client reads it when imported."""
REQUEST_ID_HEADER = REQUEST_ID.lower().encode()
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LONGEST_PATH = 500
_random = random.Random()  # begins with the system's random numbers
os.register_at_fork(after_in_child=_random.seed)  # else processes that are forked would give out the same ids
_QUIET = {"/healthz", "/readyz", "/metrics"}
"""Asked every few seconds by machines, for as long as the service runs: not worth a line."""


class Metrics:
    """The process's metrics, told together with those of the gateway processes beside it. Other parts may register
    their own in `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        labels = ("method", "route")
        self.requests = Counter(
            "crosswalk_http_requests", "Requests answered.", (*labels, "status"), registry=self.registry
        )
        self.latency = Histogram(
            "crosswalk_http_request_seconds",
            "Seconds until the answer began.",
            labels,
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "crosswalk_http_requests_in_flight",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._of_answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def tell_answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer, and the seconds until it began."""
        which = method, route, status
        known = self._of_answers.get(which)
        if known is None:  # to look a metric up by its labels takes longer than to count in it
            known = self._of_answers[which] = self.requests.labels(*which), self.latency.labels(method, route)
        counter, latency = known
        counter.inc()
        latency.observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus's text format; where several processes share a port, the sums over all of them, without what is of
        one process alone (memory, file handles, garbage collection)."""
        if METRICS_DIR not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


class Telemetry:
    """Middleware, outermost: gives each request its id, and logs and measures its answer.

    Measured by the template of its route: a path is the client's choice, and there is no end of paths.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        failed: Failed | None = scope.get(FAILED)
        if failed is None:
            begun = time.perf_counter()
            request_id = _request_id(
                next((value for name, value in scope["headers"] if name == REQUEST_ID_HEADER), None)
            )
        else:
            begun, request_id = failed.began, failed.request_id
        scope.setdefault("state", {})["request_id"] = request_id

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, request_id.encode())]
                self._tell(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=request_id)
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.in_flight.dec()
            structlog.contextvars.reset_contextvars(**bound)

    def _tell(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        # As it was sent: decoded, it may hold line breaks, and forge lines of the log.
        path = scope["raw_path"].decode("latin-1")
        tell_answer(self.metrics, method, route, path, status, seconds)


def tell_answer(metrics: Metrics, method: str, route: str, path: str, status: int, seconds: float) -> None:
    """Counts and logs an answer, with what is bound to the context. route: its template; path: as it was sent;
    seconds: until the answer began."""
    metrics.tell_answer(method, route, status, seconds)
    if route not in _QUIET:
        shown = redacted_path(path)[:_LONGEST_PATH]
        log_answer(__name__, method=method, path=shown, status=status, milliseconds=round(1000 * seconds, 1))


def _request_id(header: bytes | None) -> str:
    """The client's, where it could not disturb a log and holds no key; else a new one."""
    sent = None if header is None else header.decode("latin-1")
    sane = sent is not None and _SANE_REQUEST_ID.fullmatch(sent) and redacted(sent) == sent
    return sent if sent is not None and sane else new_request_id()


def new_request_id() -> str:
    """Told from every other, and no secret: it need not be unguessable. The system's own random numbers would take a
    call that gives the interpreter to another thread each time, and a wait until that gives it back."""
    return f"{_random.getrandbits(128):032x}"
