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
from tests.waiting import PATIENCE_SECONDS, wait_until


@contextmanager
def serving(
    settings: Settings, worker: Worker | None = None, *, more: Callable[[FastAPI], None] = lambda _: None
) -> Iterator[httpx.Client]:
    """A client of a service that listens while the context is open; `more` may add routes to it."""
    application = create_app(settings, worker)
    more(application)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(server_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the service to start or fail")
        assert server.started
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=PATIENCE_SECONDS) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()
