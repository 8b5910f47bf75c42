"""Asks for a new index where the live one has grown a long tail of writes, or what was published is corrupt."""

from app.galleries.tables import GalleryRow
from app.jobs.service import Jobs
from app.storage.database import Database

STEP = "reindex"


def rebuild_of(gallery: str, generation: int) -> str:
    """What the job of a rebuild is about."""
    return f"index {gallery} {generation}"


class Rebuilds:
    """One rebuild of a generation's index at a time, however many searches notice that it is due."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    def ask(self, gallery: str, generation: int) -> None:
        """Enqueues the rebuild, unless one is under way."""
        subject = rebuild_of(gallery, generation)
        with self._database.session() as session:
            # Two that ask at the same moment take turns here: two rebuilds of one index would prune each other's files.
            if session.get(GalleryRow, gallery, with_for_update=True) is None:
                return
            if self._jobs.progress(session, subject) is None:
                self._jobs.enqueue(session, STEP, subject, {"gallery": gallery, "generation": generation})
