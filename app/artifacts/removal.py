"""Removing what an upgrade, or the training of an encoder, left on disk."""

import shutil
from pathlib import Path

from sqlalchemy.orm import Session

from app.storage.database import once_committed
from app.storage.shared_files import SharedFiles


def remove_once_committed(session: Session, folder: Path, shared: SharedFiles | None = None) -> None:
    """Has the folder of a run, whose row the session deletes, removed once that is committed, here and in `shared`.

    Where the process ends in between, or a step that was still dying writes there again, the folder is a leftover
    (`app.leftovers`).
    """

    def remove() -> None:
        if shared is not None:
            shared.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)

    once_committed(session, remove)
