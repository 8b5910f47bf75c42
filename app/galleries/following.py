"""Keeping what an upgrade wrote into a store of the user's own up with the items there, whenever it is asked for."""

from sqlalchemy.orm import Session

from app.galleries import generations
from app.galleries.info import READY
from app.galleries.schemas import Followed
from app.galleries.service import Galleries
from app.jobs.schemas import Progress
from app.jobs.service import Jobs
from app.jobs.values import JobState
from app.problems import WrongState
from app.storage.database import Database

STEP = "follow"


class Following:
    """Asked for by whoever writes items: no store of the users' own says by itself that something was written."""

    def __init__(self, database: Database, galleries: Galleries, jobs: Jobs) -> None:
        self._database = database
        self._galleries = galleries
        self._jobs = jobs

    def ask(self, gallery: str) -> Followed:
        """Has the gallery's transformed vectors catch up, unless that is about to begin; how far it is.

        Raises NotFound, and WrongState where there are none to keep up.
        """
        with self._database.session() as session:
            info = self._galleries.info(gallery, session)
            made = [one for one in info.generations.values() if one.in_store is not None and one.state == READY]
            if not made:
                raise WrongState(
                    f"No upgrade has written vectors of gallery {gallery!r} into a store of your own. Items that are "
                    "put here need no following."
                    if info.elsewhere is None
                    else f"No upgrade has written its vectors into {info.elsewhere} yet: there is nothing to follow."
                )
            subject = f"{STEP} {info.folder}"
            if not self._jobs.waiting(session, subject):  # one that runs may have read already what was written since
                self._jobs.enqueue(session, STEP, subject, {"gallery": gallery})
            progress = self._jobs.progress(session, subject)
        return Followed(progress=None if progress is None else Progress(**progress))

    def step_failed(self, session: Session, subject: str, reason: str) -> None:
        """Notes with the gallery why it has not caught up. A subject that is not to follow a gallery is passed over."""
        step, _, folder = subject.partition(" ")
        if step != STEP:
            return
        jobs = self._jobs.of(session, subject)
        begun = [job.started_at for job in jobs if job.state == JobState.RUNNING and job.started_at is not None]
        generations.note_not_followed(session, folder, reason, since=max(begun))
