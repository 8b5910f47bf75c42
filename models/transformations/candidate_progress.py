"""Progress of a selection: the progress of its parts, added up to one count."""

from __future__ import annotations

from models.arrays import Progress


class Meter:
    """Reports the progress of parts, which are given as shares of the work, as one count that never falls."""

    RESOLUTION = 100

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total * self.RESOLUTION, 0

    def advance(self, share: int) -> None:
        """Reports that a share of the work is done."""
        self._done += share * self.RESOLUTION
        self._progress(self._done, self._total)

    def within(self, share: int) -> Progress:
        """A progress callback for a part of the work, which counts for at most `share` of it."""
        return lambda done, total: self._progress(
            self._done + share * self.RESOLUTION * done // (total + 1), self._total
        )


class Rounds:
    """A progress callback for several rounds of equal work, each of which counts from 0, that reports them as one."""

    def __init__(self, progress: Progress, rounds: int) -> None:
        self._progress, self._rounds, self._round, self._last = progress, rounds, 0, 0

    def __call__(self, done: int, total: int) -> None:
        self._round += done < self._last
        self._last = done
        self._progress(min(self._round, self._rounds - 1) * total + done, self._rounds * total)
