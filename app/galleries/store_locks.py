"""Taking turns with what upgrades write into a store of a user's own, by files in the gallery's folder.

targets/switch.lock      held by whoever switches the gallery, in its store and in the database
targets/switching        there while the store's readers may see something else than the database says
targets/<target>.lock    held by whoever writes to a target, indexes it, switches to it or drops it
targets/<target>.ledger  what was written to it (`app.stores.ledger`)

Whoever needs both kinds of lock takes the gallery's first. A process that dies lets go of its locks, and leaves the
mark.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from app.problems import StoreBusy
from app.stores.ledger import ledger_file
from app.stores.protocol import Target
from models.portable import publish

ASKED_SECONDS = 30.0
"""For how long whoever waits for an answer by HTTP waits for others that are at work in a store."""


class Patience:
    """For how long others are waited for, all in all. seconds: None for as long as it takes."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, as FileLock takes them: -1 for no limit."""
        return -1.0 if self._until is None else max(0.0, self._until - time.monotonic())


FOREVER = Patience()


class StoreLocks:
    """The locks and the mark of one gallery. folder: `targets` in the gallery's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = folder / "switching"

    @contextmanager
    def switching(self, patience: Patience) -> Iterator[None]:
        """Keeps others from switching the gallery. Raises StoreBusy."""
        with _held(self._folder / "switch.lock", patience, "The gallery is being switched."):
            yield

    @contextmanager
    def writing(self, target: Target, patience: Patience) -> Iterator[None]:
        """Keeps others from a target. Raises StoreBusy."""
        told = f"{target.name!r} is being written to, indexed or dropped, as when it catches up with the items."
        with _held(self._folder / f"{target.name}.lock", patience, told):
            yield

    def mark(self) -> None:
        """Notes, durably, that the store is about to be switched."""
        publish(self._mark, b"")

    def unmark(self) -> None:
        """Takes the note away: the store's readers see what the database says."""
        self._mark.unlink(missing_ok=True)

    @property
    def marked(self) -> bool:
        return self._mark.exists()

    @property
    def left_marked(self) -> bool:
        """Whether whoever was switching the gallery is gone, and left the mark."""
        if not self.marked:
            return False
        try:
            with self.switching(Patience(0.0)):
                return self.marked
        except StoreBusy:
            return False

    def forget(self, target: Target) -> None:
        """Removes what was noted of a target that is dropped."""
        ledger_file(self._folder, target.name).unlink(missing_ok=True)


@contextmanager
def _held(file: Path, patience: Patience, told: str) -> Iterator[None]:
    lock = FileLock(file, is_singleton=True)
    try:
        lock.acquire(timeout=patience.left)
    except Timeout:
        raise StoreBusy(told) from None
    try:
        yield
    finally:
        lock.release()
