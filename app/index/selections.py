"""The blocks that are left of a base where only some rows are allowed, kept for those that are asked for again."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.index.block import VectorBlock
from app.index.protocol import RowIds

_KEPT = 16


@dataclass(frozen=True)
class _Selection:
    """allowed, base: what the block was made of, neither of which is kept alive for it."""

    allowed: weakref.ref[RowIds]
    base: weakref.ref[VectorBlock]
    block: VectorBlock


class Selections:
    """Remembers the last blocks by the very array of allowed rows, which a filter that comes again is answered with.

    A block keeps its base's rows and vectors, and their files: it goes once another base is asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Selection] = OrderedDict()

    def of(self, base: VectorBlock, allowed: RowIds, select: Callable[[], VectorBlock]) -> VectorBlock:
        """`select()`, or what it gave for these. An array that can be written to may be another by then."""
        if allowed.flags.writeable:
            return select()
        with self._lock:
            kept = self._kept.get(id(allowed))
            if kept is not None and kept.allowed() is allowed and kept.base() is base:
                self._kept.move_to_end(id(allowed))
                return kept.block
        block = select()
        with self._lock:
            for name in [name for name, one in self._kept.items() if one.base() is not base or one.allowed() is None]:
                del self._kept[name]
            self._kept[id(allowed)] = _Selection(weakref.ref(allowed), weakref.ref(base), block)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return block
