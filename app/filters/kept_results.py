"""What was worked out and may be asked for again, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

_OVERHEAD_BYTES = 400  # of the objects that keep one result


class KeptResults:
    """Results by name. Those not asked for longest make room for others. For any number of threads."""

    def __init__(self, bytes_at_most: int) -> None:
        self._lock = threading.Lock()
        self._most = bytes_at_most
        self._room = bytes_at_most
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def find(self, name: Hashable) -> Any | None:
        """The result of this name, if it is kept."""
        with self._lock:
            known = self._kept.get(name)
            if known is None:
                return None
            self._kept.move_to_end(name)
            return known[0]

    def keep(self, name: Hashable, result: Any, nbytes: int) -> None:
        """Keeps a result in the place of the one that had its name, unless it is larger than all the room there is.
        nbytes: that keeping it takes."""
        taken = nbytes + _OVERHEAD_BYTES
        with self._lock:
            if (before := self._kept.pop(name, None)) is not None:
                self._room += before[1]
            if taken > self._most:
                return
            self._kept[name] = (result, taken)
            self._room -= taken
            while self._room < 0:
                self._room += self._kept.popitem(last=False)[1][1]
