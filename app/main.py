"""Builds the FastAPI application: middleware, routes, and what happens before the first request and after the last."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import __version__
from app.composition import Crosswalk, compose
from app.deleted_meanwhile import deleted_since, why_gone
from app.http.body_limit import BodyLimit
from app.http.forwarded import Forwarded
from app.http.head_requests import HeadAsGet
from app.http.hosts import HostNames, KnownHosts
from app.http.openapi import DESCRIPTION, TAGS, Documented
from app.http.origins import CrossOrigin
from app.http.problem_answers import LastResort, answer_problems
from app.http.security_headers import SecurityHeaders
from app.http.telemetry import Metrics, Telemetry
from app.keys.admission import Admission
from app.keys.limits import KeyLimits
from app.keys.openapi import document_rules
from app.keys.rules import RULES, Rules
from app.leftovers import sweep_leftovers
from app.overload.queues import QueueMetrics, Queues, lines_of
from app.overload.shedding import Shedding
from app.overload.threads import enough_threads
from app.overload.work import Work
from app.routes import ROUTES, checks, operation_id
from app.search.answered_by_protocol import ProtocolSearches, SharedWithMiddleware
from app.search.quick_answers import QuickAnswers
from app.search.routes import router as search
from app.settings import Settings
from app.spaces.watch import foreign_streams
from app.storage.migrate import migrate
from app.sweeping import sweeping

Worker = Callable[[Settings], AbstractContextManager[object]]
"""Makes the worker that lives inside the service process in the embedded arrangement."""


def create_app(settings: Settings, worker: Worker | None = None) -> FastAPI:
    """The gateway. `worker`, if given, works for as long as the application runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            enough_threads(settings)
            app.state.crosswalk = await run_in_threadpool(_open, settings, worker, stack)
            app.state.why_gone = partial(why_gone, app.state.crosswalk)
            app.state.deleted_since = partial(deleted_since, app.state.crosswalk)
            app.state.crosswalk.streams.count_in(foreign)
            yield
            await app.state.crosswalk.close_embedders()
            await run_in_threadpool(stack.close)

    metrics = Metrics()
    lines = lines_of(settings, QueueMetrics(metrics.registry))
    foreign = foreign_streams(metrics.registry)
    app = Documented(
        title="Crosswalk",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        document_access=document_rules,
        routes=ROUTES,
        dependencies=checks(),  # of routes that are added to these
        generate_unique_id_function=operation_id,
    )
    app.state.metrics = metrics
    hosts, rules, limits = HostNames(settings.allowed_hosts), _rules(settings), KeyLimits(settings)
    app.state.plain_path = search.prefix
    if not settings.root_path:  # else each path is told with it
        app.state.shed = Shedding(lines[Work.SEARCHES]).refusal
        shared = SharedWithMiddleware(app.state, hosts, rules, limits, lines[Work.SEARCHES], metrics)
        app.state.plain_answering = partial(ProtocolSearches, shared)
    # The last one added is the outermost. Plain searches pass none of them: whatever a new one would do to a search,
    # `app.search.answered_by_protocol` is to do as well, or to leave to it.
    app.add_middleware(QuickAnswers)
    app.add_middleware(BodyLimit, limit_bytes=settings.json_limit_bytes, seconds=settings.body_seconds)
    app.add_middleware(Queues, lines=lines)
    app.add_middleware(Admission, rules=rules, limits=limits)
    app.add_middleware(HeadAsGet)
    app.add_middleware(LastResort, data_dir=settings.data_dir)
    app.add_middleware(CrossOrigin, origins=settings.cors_origins)
    app.add_middleware(Forwarded, trusted=settings.trusted_proxies, root_path=settings.root_path)
    app.add_middleware(KnownHosts, hosts=hosts)
    app.add_middleware(LastResort, data_dir=settings.data_dir)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Telemetry, metrics=metrics)
    answer_problems(app)
    return app


def _open(settings: Settings, worker: Worker | None, stack: ExitStack) -> Crosswalk:
    """Everything there is to open, in order; `stack` closes it in reverse."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    crosswalk = compose(settings)
    stack.callback(crosswalk.close)
    migrate(crosswalk.database)
    sweep_leftovers(crosswalk)
    crosswalk.store_settling.ask_where_needed()
    crosswalk.key_ring.read()
    if worker is not None:
        stack.enter_context(worker(settings))
    stack.enter_context(sweeping(crosswalk))
    return crosswalk


def _rules(settings: Settings) -> Rules:
    return RULES.with_open(("GET", "/metrics")) if settings.metrics_without_key else RULES
