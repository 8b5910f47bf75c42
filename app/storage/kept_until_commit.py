"""What was read from the database, kept in memory for as long as nothing is committed there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.short_calls import leave_event_loop
from app.storage.commits import CommitWatch, Moment

Asked = TypeVar("Asked", bound=Hashable)
Read = TypeVar("Read")


@dataclass(frozen=True)
class _Kept(Generic[Asked, Read]):
    """What was read while the database stood at one moment, or after it: used only where that has not passed. One
    thread may use both while another puts others in their place, so that they are kept together."""

    moment: Moment | None = None
    read: dict[Asked, Read] = field(default_factory=dict)


class KeptUntilCommit(Generic[Asked, Read]):
    """Reads from the database only where something was committed since the same was read last.

    The database is asked each time, so that a change that was acknowledged, in whichever process, is seen by everyone
    who asks after it.
    """

    def __init__(self, commits: CommitWatch, most: int) -> None:
        """most: how many are kept; one more, and they are all read anew."""
        self._commits = commits
        self._most = most
        self._keeping = threading.Lock()
        self._kept: _Kept[Asked, Read] = _Kept()

    def get(self, asked: Asked, read: Callable[[], Read]) -> Read:
        """What `read` makes of the database as it is now. Raises what it raises, and keeps nothing then."""
        now = self._commits.now()  # before anything is read: what is committed while it is read makes it old at once
        known = self._known(now)
        if asked in known:
            return known[asked]
        leave_event_loop()
        made = read()
        if now is not None:
            with self._keeping:
                if self._kept.moment != now or len(self._kept.read) >= self._most:
                    self._kept = _Kept(now)
                self._kept.read[asked] = made
        return made

    def known(self, asked: Asked) -> Read | None:
        """What `get` would answer, where that takes no more than microseconds; None where it has to be called."""
        return self._known(self._commits.now()).get(asked) if self._commits.soon else None

    def _known(self, now: Moment | None) -> dict[Asked, Read]:
        kept = self._kept
        return kept.read if now is not None and now == kept.moment else {}
