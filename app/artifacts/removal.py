"""Removing what an upgrade, or the training of an encoder, left on disk."""

import shutil
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session


def remove_once_committed(session: Session, folder: Path) -> None:
    """Has the folder of a run, whose row the session deletes, removed once that is committed.

    Where the process ends in between, or a step that was still dying writes there again, the folder is a leftover
    (`app.leftovers`).
    """

    @event.listens_for(session, "after_commit", once=True)
    def remove(_committed: Session) -> None:
        shutil.rmtree(folder, ignore_errors=True)
