"""Writes spread evenly over time, so that a store's other users keep their share of it."""

import time


class WritePace:
    """At most so many items a second, on average from the first on; None for as fast as it goes."""

    def __init__(self, items_per_second: float | None) -> None:
        self._rate = items_per_second
        self._free_at = 0.0  # on the monotonic clock: when as much time has passed as all items so far are to take

    def wait(self, items: int) -> None:
        """Returns when this many may be written."""
        if self._rate is None:
            return
        now = time.monotonic()
        time.sleep(max(0.0, self._free_at - now))
        self._free_at = max(self._free_at, now) + items / self._rate

    def most_at_once(self, items: int) -> int:
        """The most to write in one go: what is written in a second, where that is less than `items`."""
        return items if self._rate is None else max(1, min(items, int(self._rate)))
