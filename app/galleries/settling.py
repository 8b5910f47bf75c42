"""Stores of the users' own whose switching was cut off, by a process that died between them and the database."""

import structlog

from app.galleries.info import GalleryInfo
from app.galleries.targets import StoreTargets
from app.jobs.service import Jobs
from app.storage.database import Database

SETTLE_STORE = "settle_store"

log = structlog.get_logger(__name__)


class StoreSettling:
    """Asked for when the service starts; whoever switches such a gallery before does it first."""

    def __init__(self, database: Database, jobs: Jobs, targets: StoreTargets) -> None:
        self._database = database
        self._jobs = jobs
        self._targets = targets

    def ask_where_needed(self) -> None:
        """Has those stores brought to what the database says, by jobs: a store that does not answer must keep no
        service from starting."""
        for info in self._targets.left_between():
            try:
                self._ask(info)
            except Exception:  # whoever switches the gallery before the next start does it first
                log.exception("a store's readers may see what the gallery does not point at", gallery=info.id)

    def _ask(self, info: GalleryInfo) -> None:
        with self._database.session() as session:
            subject = f"{SETTLE_STORE} {info.folder}"
            if not self._jobs.waiting(session, subject):
                self._jobs.enqueue(session, SETTLE_STORE, subject, {"gallery": info.id})
