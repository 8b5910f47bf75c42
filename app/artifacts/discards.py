"""Removing what an upgrade, or the training of an encoder, left on disk: once it is no more, and whatever happens.

A mark is written before the transaction that removes the row; the files go after its commit. The marks are read when a
gateway starts: files whose row is gone are removed then, where a crash left them or a step that was still dying wrote
them again; files whose row is there stay, since that transaction came to nothing.
"""

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.orm import Session

_MARKS = ".discarded"


def discard(session: Session, root: Path, run: str) -> None:
    """Has the folder of a run below `root`, the folder of all artifacts, removed once the session has committed."""
    marks = root / _MARKS
    marks.mkdir(parents=True, exist_ok=True)
    (marks / run).touch()

    @event.listens_for(session, "after_commit", once=True)
    def remove(_committed: Session) -> None:
        shutil.rmtree(root / run, ignore_errors=True)


def sweep(root: Path, known: Callable[[Collection[str]], Collection[str]]) -> list[str]:
    """Removes what should have been removed already, and the marks; the runs of which. known: those that have a row."""
    marks = root / _MARKS
    marked = sorted(mark.name for mark in marks.iterdir()) if marks.is_dir() else []
    gone = sorted(set(marked) - set(known(marked)))
    for run in gone:
        shutil.rmtree(root / run, ignore_errors=True)
    for run in marked:
        (marks / run).unlink(missing_ok=True)
    return gone
