"""The processes of the service: gateway, worker, migration."""

import os
import signal
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile

import typer
import uvicorn
from sqlalchemy import make_url

from app import failpoints
from app.cli.ending import give_up
from app.cli.settings import settings_or_end
from app.cli.stored_keys import refuse_open_door
from app.connections.configured import configured_connections
from app.connections.file import WrongConnections
from app.http.listener import listen
from app.http.server import server_config
from app.logs import configure_logging
from app.memory import give_memory_back, rare_collections
from app.settings import Settings
from app.storage import migrate as migrations
from app.storage.database import Database
from app.storage.start import why_not_start

_FINISH_SECONDS = 10
"""How long requests may still take once the service was asked to stop."""


class _Server(uvicorn.Server):
    """Uvicorn that says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, url: str, settings: Settings) -> None:
        super().__init__(config)
        self._url = url
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            rare_collections()
            _tell_started(self._url, self._settings)


def serve(host: str, port: int, data_dir: Path | None, processes: int = 1, shared: Path | None = None) -> None:
    """Serves until SIGINT or SIGTERM. Exits with status 1 where it cannot listen or start. shared: where there are
    several processes, the folder of `begun_to_import`."""
    give_memory_back()
    settings = settings_or_end(data_dir)
    configure_logging(settings.log_format)
    refuse_open_door(settings, host)
    failpoints.arm("gateway")
    listener = _listen(host, port)
    _prepare(settings)
    if settings.embedded:
        _refuse_missing_gpu(settings)
    _reach_database(settings)
    if shared is not None:
        _serve_with_processes(settings, listener, _url(host, listener), processes, shared)
        return
    from app.main import create_app

    if settings.embedded:
        from workers.runtime.celery import EmbeddedWorker

        application = create_app(settings, EmbeddedWorker)
    else:
        application = create_app(settings)
    config = server_config(application, timeout_graceful_shutdown=_FINISH_SECONDS)
    server = _Server(config, _url(host, listener), settings)
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def _serve_with_processes(settings: Settings, listener: socket.socket, url: str, count: int, shared: Path) -> None:
    """Serves with several processes; the embedded worker is in this one, which takes no requests itself.

    They import the gateway, which this one does not, and so does not keep them waiting; nor does the worker, which
    begins once they serve.
    """
    from app.cli.processes import serve_with_processes

    _migrate(settings)
    with listener, ExitStack() as stack:

        def started() -> None:
            if settings.embedded:
                from workers.runtime.celery import EmbeddedWorker

                stack.enter_context(EmbeddedWorker(settings))
            _tell_started(url, settings, count)

        served = serve_with_processes(
            settings,
            listener,
            count,
            shared=shared,
            finish_seconds=_FINISH_SECONDS,
            started=started,
        )
    if not served:
        raise typer.Exit(1)


def _tell_started(url: str, settings: Settings, processes: int = 1) -> None:
    worker = "in this process" if settings.embedded else "apart: crosswalk worker"
    lines = [
        f"Crosswalk listens on {url}",
        f"  Swagger UI  {url}/docs",
        f"  data        {settings.data_dir.resolve()}",
        *([] if settings.storage_url is None else [f"  storage     {settings.storage_url}"]),
        f"  worker      {worker}",
        *([f"  processes   {processes}"] if processes > 1 else []),
    ]
    typer.echo("\n".join(lines))  # One write: who waits for the first line finds them all.


def stop_when_stdin_closes() -> None:
    """Sends this process SIGTERM once its standard input ends: when the process that holds a pipe to it is gone."""

    def wait_for_end() -> None:
        # Not sys.stdin, whose lock a thread that waits in it would hold when the interpreter shuts down.
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, name="standard input", daemon=True).start()


def work(data_dir: Path | None) -> None:
    """Works until SIGINT or SIGTERM."""
    from workers.runtime.celery import run_worker

    settings = settings_or_end(data_dir)
    configure_logging(settings.log_format)
    if settings.embedded:
        typer.echo(
            "A worker of its own needs a broker that it shares with the service: set CROSSWALK_BROKER_URL, for example "
            "to redis://localhost:6379/0. Without one, `crosswalk serve` works in its own process.",
            err=True,
        )
        raise typer.Exit(1)
    _prepare(settings)
    _refuse_missing_gpu(settings)
    failpoints.arm("worker")
    _migrate(settings)
    run_worker(settings)


def migrate(data_dir: Path | None) -> None:
    """Migrates, and says what."""
    settings = settings_or_end(data_dir)
    configure_logging(settings.log_format)
    _prepare(settings)
    _migrate(settings)
    typer.echo(f"{make_url(settings.sqlalchemy_url).render_as_string(hide_password=True)} is at the newest schema.")


def _migrate(settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    try:
        migrations.migrate(database)
    finally:
        database.close()


def _reach_database(settings: Settings) -> None:
    """Raises what ends the command in one line where the database cannot be reached: uvicorn would tell it with a
    traceback."""
    database = Database(settings.sqlalchemy_url)
    try:
        with database.engine.connect():
            pass
    finally:
        database.close()


def _prepare(settings: Settings) -> None:
    """Makes the data directory, and ends the command where that cannot be, or where the object store or the connections
    cannot be used."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.data_dir):
            pass
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        give_up(
            f"Cannot use the data directory {settings.data_dir}: {reason}. Choose a folder that can be written to, "
            "with --data-dir or CROSSWALK_DATA_DIR."
        )
    if (why := why_not_start(settings)) is not None:
        give_up(why)
    try:
        configured_connections(settings.connections)
    except WrongConnections as error:
        give_up(f"The connections cannot be used: {error}.")


def _refuse_missing_gpu(settings: Settings) -> None:
    """Ends the command where indexes are to be built on a GPU and cannot be; for processes that have a worker."""
    if settings.index_device != "cuda":
        return
    from app.index.device import DeviceFailed, on_gpus

    try:
        on_gpus(settings.index_device)
    except DeviceFailed as problem:
        give_up(str(problem))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket; taken before anything is opened, so that a second service on the port touches nothing."""
    try:
        return listen(host, port)
    except OSError as error:
        # An address's own error numbers are not the system's.
        number = None if isinstance(error, socket.gaierror) else error.errno
        reason = error.strerror if number is None else os.strerror(number)
        typer.echo(
            f"Cannot listen on {host}, port {port}: {reason}. "
            "Stop what listens there, or choose another with --port (0 takes any that is free).",
            err=True,
        )
        raise typer.Exit(1) from None


def _url(host: str, listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}"
