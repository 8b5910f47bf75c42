"""The real service on loopback, in a thread of the test's process."""

import atexit
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from app.http.listener import listen
from app.http.server import server_config
from app.main import Worker, create_app
from app.settings import Settings
from app.storage.database import Database
from app.storage.migrate import migrate
from tests.waiting import PATIENCE_SECONDS, wait_until


@contextmanager
def serving(
    settings: Settings, worker: Worker | None = None, *, more: Callable[[FastAPI], None] = lambda _: None
) -> Iterator[httpx.Client]:
    """A client of a service that listens while the context is open; `more` may add routes to it.

    On SQLite it finds an empty database of the newest schema, as if it had been started before: to make one takes most
    of a service's start. That a service makes its own is what tests of migrations and of the command say.
    """
    if settings.database_url is None and not settings.database_file.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_empty_database(), settings.database_file)
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


@cache
def _empty_database() -> Path:
    """The file of a database of the newest schema, made once by a process of tests."""
    folder = Path(tempfile.mkdtemp(prefix="crosswalk-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(data_dir=folder, database_url=None)
    database = Database(settings.sqlalchemy_url)
    migrate(database)
    database.close()
    return settings.database_file
