"""The real service on loopback, in a thread of the test's process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from app.http.listener import listen
from app.http.server import server_config
from app.main import Worker, create_app
from app.settings import Settings
from tests.loopback import NO_TLS
from tests.newest_schema import put_sqlite
from tests.waiting import PATIENCE_SECONDS, wait_until


@contextmanager
def serving(
    settings: Settings,
    worker: Worker | None = None,
    *,
    more: Callable[[FastAPI], None] = lambda _: None,
    finish_seconds: int | None = None,
) -> Iterator[httpx.Client]:
    """A client of a service that listens while the context is open; `more` may add routes to it. finish_seconds: how
    long it waits at its end for what it is still answering; left out, for as long as that takes.

    On SQLite it finds an empty database of the newest schema, as if it had been started before.
    """
    if settings.database_url is None:
        put_sqlite(settings)
    application = create_app(settings, worker)
    more(application)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(application, timeout_graceful_shutdown=finish_seconds))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the service to start or fail")
        assert server.started
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, verify=NO_TLS) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()
