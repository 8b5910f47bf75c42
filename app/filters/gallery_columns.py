"""The fields of one gallery's items that filters look at, in memory, as of whichever version a search needs.

As a log-structured merge-tree: a large block of items, and ever smaller and newer ones of what was written since
(O'Neil et al., The log-structured merge-tree, 1996). No block ever changes, so that a search keeps what it has begun
with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from app.filters.expression import FilterField
from app.filters.field_block import FieldBlock, block_of, columns_needed
from app.storage.lance_table import Table, VersionGone

_BATCH_ROWS = 2**16
_GROWTH = 4  # a block has at least so many times the items of the next one
_STATES = 4  # kept, of the newest versions: searches that began a moment ago need the one before


@dataclass(frozen=True)
class _State:
    """Every item as of a version, in blocks: the oldest first, and none in two."""

    version: int
    blocks: tuple[FieldBlock, ...]
    fields: frozenset[FilterField]


class GalleryColumns:
    """Columns of fields, built when they are first asked for, and brought level by what has changed since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: tuple[_State, ...] = ()  # by version, ascending

    def blocks(
        self, items: Callable[[], Table], version: int, fields: frozenset[FilterField], room: Callable[[], int]
    ) -> tuple[FieldBlock, ...]:
        """Every item as of a version, in blocks with columns of these fields.

        items: opens the items' table. room: bytes that columns yet to be built may take. Raises NoRoom.
        """
        for state in self._states:
            if state.version == version and fields <= state.fields:
                return state.blocks
        with self._lock:
            before = [state for state in self._states if state.version <= version]
            level = _level(before[-1], items(), version) if before else None
            if level is None:
                state = _built(items(), version, fields, room())
            elif fields <= level.fields:
                state = level
            else:
                state = _with_more(level, items(), fields - level.fields, room())
            others = [one for one in self._states if one.version != version]
            self._states = tuple(sorted([*others, state], key=lambda one: one.version)[-_STATES:])
            return state.blocks

    def nbytes(self, fields: Iterable[FilterField] | None = None) -> int:
        """Bytes of the newest columns of these fields, or of all."""
        if not self._states:
            return 0
        newest = self._states[-1]
        wanted = newest.fields if fields is None else newest.fields & frozenset(fields)
        return sum(block.columns[field].nbytes for block in newest.blocks for field in wanted)

    def fields(self) -> frozenset[FilterField]:
        """The fields that the newest state has columns of."""
        return self._states[-1].fields if self._states else frozenset()

    def drop(self, field: FilterField) -> None:
        """Lets go of a field's columns."""
        with self._lock:
            fewer = [
                replace(
                    state,
                    blocks=tuple(
                        replace(block, columns={name: one for name, one in block.columns.items() if name != field})
                        for block in state.blocks
                    ),
                    fields=state.fields - {field},
                )
                for state in self._states
            ]
            self._states = tuple(state for state in fewer if state.fields)


def _level(state: _State, items: Table, version: int) -> _State | None:
    """A state at a later version; None where what happened in between is no longer known."""
    if state.version == version:
        return state
    try:
        changes = items.changes(state.version, columns_needed(state.fields), upto=version)
    except VersionGone:
        return None
    written = block_of(changes.written, state.fields)
    touched = np.concatenate([changes.removed, written.rows])
    blocks = [block.without(touched) for block in state.blocks] if len(touched) else state.blocks
    return replace(state, version=version, blocks=_settled([*blocks, written]))


def _scanned(items: Table, version: int, fields: frozenset[FilterField], room: int) -> FieldBlock:
    batches = items.scan(columns_needed(fields), version=version, batch_rows=_BATCH_ROWS)
    return block_of(batches, fields, room)


def _built(items: Table, version: int, fields: frozenset[FilterField], room: int) -> _State:
    return _State(version, (_scanned(items, version, fields, room),), fields)


def _with_more(state: _State, items: Table, fields: frozenset[FilterField], room: int) -> _State:
    """The state with columns of more fields, all in one block."""
    block = FieldBlock.merged(state.blocks)
    more = _scanned(items, state.version, fields, room)
    if not np.array_equal(block.rows, more.rows):
        raise RuntimeError(f"{items.uri} has other rows in version {state.version} than its changes have told of")
    columns = {**block.columns, **more.columns}
    return _State(state.version, (replace(block, columns=columns),), state.fields | fields)


def _settled(blocks: list[FieldBlock]) -> tuple[FieldBlock, ...]:
    """The same items in few blocks, none of which holds mostly what is no longer live: at least one, though empty."""
    blocks = [block for block in blocks if len(block.rows)] or blocks[:1]
    while len(blocks) > 1 and len(blocks[-2]) <= _GROWTH * len(blocks[-1]):
        blocks[-2:] = [FieldBlock.merged(blocks[-2:])]
    return tuple(FieldBlock.merged([block]) if 2 * len(block) < len(block.rows) else block for block in blocks)
