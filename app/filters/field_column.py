"""One field of some items, as a column: its values by type in ascending order, and which items have any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.filters.expression import FieldCondition, scalar_type
from app.filters.sorted_values import Places, SortedFloats, SortedIntegers, SortedStrings, SortedValues

Mask = npt.NDArray[np.bool_]
"""Which of a block's items: (n,) bool."""

_EXACT = 2**53  # up to here every whole number is a double of its own


@dataclass(frozen=True, eq=False)
class FieldColumn:
    """Numbers are in two places: those that doubles hold, and the others. present: the items where the field is."""

    doubles: SortedFloats
    integers: SortedIntegers
    strings: SortedStrings
    booleans: SortedFloats
    present: Mask

    @property
    def nbytes(self) -> int:
        parts = (self.doubles, self.integers, self.strings, self.booleans)
        return sum(part.nbytes for part in parts) + self.present.nbytes

    def matching(self, condition: FieldCondition) -> Mask:
        """Which items meet a condition on this field."""
        mask = np.ones(len(self.present), bool)
        if condition.exists is not None:
            mask = self.present.copy() if condition.exists else ~self.present
        if condition.among is None and not condition.bounds:
            return mask
        found = np.zeros(len(self.present), bool)
        for values, type_ in self._by_type():
            for start, end in _runs(values, type_, condition):
                found[values.places[start:end]] = True
        return mask & found

    def _by_type(self) -> Iterator[tuple[SortedValues, str]]:
        yield self.doubles, "number"
        yield self.integers, "number"
        yield self.strings, "string"
        yield self.booleans, "boolean"

    def moved(self, to: Places, size: int) -> FieldColumn:
        """The column of the same items at other positions, of `size`: `to` (n,) says which, -1 for none left."""
        present = np.zeros(size, bool)
        kept = to >= 0
        present[to[kept]] = self.present[kept]
        return FieldColumn(
            self.doubles.moved(to), self.integers.moved(to), self.strings.moved(to), self.booleans.moved(to), present
        )

    @staticmethod
    def joined(columns: Sequence[FieldColumn]) -> FieldColumn:
        """One column of the values of several, which are all of the same positions."""
        first, *others = columns
        if not others:
            return first
        return FieldColumn(
            first.doubles.with_others([one.doubles for one in others]),
            first.integers.with_others([one.integers for one in others]),
            first.strings.with_others([one.strings for one in others]),
            first.booleans.with_others([one.booleans for one in others]),
            np.logical_or.reduce([one.present for one in columns]),
        )


def _runs(values: SortedValues, type_: str, condition: FieldCondition) -> Iterator[tuple[int, int]]:
    """Where in the order the values lie that a condition asks for, each once."""
    start, end = 0, len(values.places)
    for bound in condition.bounds:
        if scalar_type(bound.value) != type_:
            return
        if bound.operator in ("gt", "gte"):
            start = max(start, values.below(bound.value, or_equal=bound.operator == "gt"))
        else:
            end = min(end, values.below(bound.value, or_equal=bound.operator == "lte"))
    if condition.among is None:
        yield start, end
        return
    alike = [value for value in condition.among if scalar_type(value) == type_]
    if alike:
        for one, other in zip(*values.equal(alike), strict=True):
            if max(one, start) < min(other, end):
                yield max(int(one), start), min(int(other), end)


@dataclass
class _Parts:
    """Values of one type as they come, batch by batch, with the positions of their items."""

    values: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, value: Any, place: int) -> None:
        self.values.append(value)
        self.places.append(place)


class ColumnBuilder:
    """Takes in a field's values, batch by batch, and makes the column of them. nbytes: what it has taken in so far."""

    def __init__(self) -> None:
        self._doubles: list[npt.NDArray[np.float64]] = []
        self._booleans: list[npt.NDArray[np.float64]] = []
        self._integers: list[int] = []
        self._strings: list[pa.Array] = []
        self._places: dict[str, list[Places]] = {"doubles": [], "integers": [], "strings": [], "booleans": []}
        self._present: list[Places] = []
        self._batch = _Batch()
        self.nbytes = 0

    def add_strings(self, values: pa.Array, first: int) -> None:
        """A batch of texts or nulls, of the items at the positions from `first` on."""
        there = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)).astype(np.int32)
        places = there + np.int32(first)
        self._strings.append(values.drop_null().cast(pa.large_string()))
        self._places["strings"].append(places)
        self._present.append(places)
        self.nbytes += int(self._strings[-1].nbytes) + 2 * places.nbytes

    def add(self, value: Any, place: int) -> None:
        """A value that the field has in the item at a position: whatever JSON has. Ends with `end_batch`."""
        batch = self._batch
        if isinstance(value, list):
            for one in value:
                self.add(one, place)
            return
        if value is None:
            return
        batch.present.append(place)
        if isinstance(value, str):
            batch.strings.add(value, place)
        elif isinstance(value, bool):
            batch.booleans.add(float(value), place)
        elif isinstance(value, float) or (isinstance(value, int) and _is_double(value)):
            batch.doubles.add(float(value), place)
        elif isinstance(value, int):
            batch.integers.add(value, place)

    def end_batch(self) -> None:
        """Packs what was added since the last batch."""
        batch, self._batch = self._batch, _Batch()
        self._doubles.append(np.array(batch.doubles.values, np.float64))
        self._booleans.append(np.array(batch.booleans.values, np.float64))
        self._strings.append(pa.array(batch.strings.values, pa.large_string()))
        self._integers += batch.integers.values
        for name, part in batch.by_name():
            self._places[name].append(np.array(part.places, np.int32))
            self.nbytes += 4 * len(part.places)
        self._present.append(np.unique(np.array(batch.present, np.int32)))
        self.nbytes += self._doubles[-1].nbytes + self._booleans[-1].nbytes + int(self._strings[-1].nbytes)
        self.nbytes += 40 * len(batch.integers.values) + self._present[-1].nbytes

    def column(self, size: int) -> FieldColumn:
        """The column of `size` items."""
        present = np.zeros(size, bool)
        present[_joined(self._present)] = True
        return FieldColumn(
            SortedFloats.of(_joined_floats(self._doubles), _joined(self._places["doubles"])),
            SortedIntegers.of(self._integers, _joined(self._places["integers"])),
            SortedStrings.of(pa.chunked_array(self._strings, pa.large_string()), _joined(self._places["strings"])),
            SortedFloats.of(_joined_floats(self._booleans), _joined(self._places["booleans"])),
            present,
        )


@dataclass
class _Batch:
    doubles: _Parts = field(default_factory=_Parts)
    integers: _Parts = field(default_factory=_Parts)
    strings: _Parts = field(default_factory=_Parts)
    booleans: _Parts = field(default_factory=_Parts)
    present: list[int] = field(default_factory=list)

    def by_name(self) -> Iterator[tuple[str, _Parts]]:
        yield "doubles", self.doubles
        yield "integers", self.integers
        yield "strings", self.strings
        yield "booleans", self.booleans


def _is_double(value: int) -> bool:
    if -_EXACT <= value <= _EXACT:
        return True
    try:
        return float(value) == value
    except OverflowError:
        return False


def _joined(parts: list[Places]) -> Places:
    return np.concatenate([np.empty(0, np.int32), *parts])


def _joined_floats(parts: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.concatenate([np.empty(0, np.float64), *parts])
