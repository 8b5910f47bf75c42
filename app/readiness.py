"""Whether every part that requests need is there, told even while the service has more to do than it can."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from app.index import IndexEngine
from app.jobs.doorbell import Doorbell
from app.overload.gathering import Gathering
from app.overload.threads import HandedOver
from app.settings import Settings
from app.storage.database import Database
from app.storage.disk import disk_problem, free_bytes
from app.storage.migrate import pending
from app.storage.shared_files import shared_files

_MOST_TOGETHER = 10_000

log = structlog.get_logger(__name__)

PartStates = dict[str, str]
"""The state of every part, by name: `ok`, or what is wrong."""


class Readiness:
    """Looks at every part, in a thread and over a connection that nothing else waits for. Whoever asks while it looks
    is told by its next look, all together."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell, index_engine: IndexEngine) -> None:
        """database: one that requests do not use."""
        self._settings = settings
        self._database = database
        self._doorbell = doorbell
        self._index_engine = index_engine
        self._asked: Gathering[None, None, PartStates] = Gathering(
            self._looked, 1, _MOST_TOGETHER, HandedOver(1, "readiness")
        )

    async def parts(self) -> PartStates:
        """The state of every part that requests need."""
        return await self._asked.ask(None, None)

    def _looked(self, _: None, asked: Sequence[None]) -> list[PartStates]:
        looks: dict[str, Callable[[], str]] = {
            "database": self._database_state,
            "migrations": lambda: "pending" if pending(self._database) else "ok",
            "store": self._store_state,
            "queue": lambda: "ok" if self._doorbell.reachable() else "unreachable",
        }
        if (server := self._index_engine.server) is not None:
            looks["milvus"] = lambda: "ok" if server.answers() else "unreachable"
        if (store := shared_files(self._settings).store) is not None:
            looks["object_store"] = lambda: "ok" if store.answers() else "unreachable"
        found = {name: _state(name, look, self._settings.data_dir) for name, look in looks.items()}
        return [found] * len(asked)

    def _database_state(self) -> str:
        with self._database.read() as session:
            session.connection().exec_driver_sql("SELECT 1")
        return "ok"

    def _store_state(self) -> str:
        folder = self._settings.data_dir
        free = free_bytes(folder)
        if free < self._settings.disk_reserve_bytes:
            return f"disk full ({free} bytes are free where {folder.resolve()} is)"
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"ready?")
            probe.flush()
        return "ok"


def _state(name: str, look: Callable[[], str], folder: Path) -> str:
    try:
        return look()
    except Exception as error:  # whatever it is, it is the answer: this part does not work
        log.warning("not ready", part=name, error=repr(error))
        disk = disk_problem(error, folder)
        return "failing" if disk is None else f"failing: {disk.title.lower()} ({disk.members.get('folder', '')})"
