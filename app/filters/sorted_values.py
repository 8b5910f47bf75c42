"""Values of one field and type in ascending order, each with the position of the item that has it: an index.

Whatever a condition asks of the values is a few runs of the order, so that it costs what it finds and not what there
is. Comparisons are exact: a whole number that no double holds is compared as what it is.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.filters.expression import Scalar

Places = npt.NDArray[np.int32]
"""Positions of items, counted from 0 within a block of them."""

Runs: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Where runs in the order start, and where they end."""

NO_TEXT = -1
_FEW = 64  # strings that are looked for one by one


class SortedValues(Protocol):
    """Values in ascending order, which can be looked for. The classes below can be moved and joined as well."""

    @property
    def places(self) -> Places:
        """Of the items that have the n values, in the order of the values: (n,); one may come again and again."""

    @property
    def nbytes(self) -> int: ...

    def below(self, value: Scalar, or_equal: bool) -> int:
        """How many of the values are less than this one of their type, or equal to it too."""

    def equal(self, values: Sequence[Scalar]) -> Runs:
        """The runs of the values that are equal to one of these, which are of their type."""


@dataclass(frozen=True, eq=False)
class SortedFloats:
    """Numbers that are doubles; booleans too, as 0 and 1."""

    values: npt.NDArray[np.float64]
    places: Places

    @classmethod
    def of(cls, values: npt.NDArray[np.float64], places: Places) -> SortedFloats:
        order = np.argsort(values, kind="stable")
        return cls(values[order], places[order])

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.places.nbytes

    def below(self, value: Scalar, or_equal: bool) -> int:
        number = _number(value)
        double = float(number)
        # Between the value and the double nearest to it there is no other double.
        inclusive = or_equal if double == number else double < number
        return int(np.searchsorted(self.values, double, "right" if inclusive else "left"))

    def equal(self, values: Sequence[Scalar]) -> Runs:
        doubles = np.unique([float(value) for value in map(_number, values) if float(value) == value])
        return np.searchsorted(self.values, doubles, "left"), np.searchsorted(self.values, doubles, "right")

    def moved(self, to: Places) -> SortedFloats:
        """The same values of items at other positions: `to` (items,) is the new position of each, -1 for none left."""
        places = to[self.places]
        kept = places >= 0
        return SortedFloats(self.values[kept], places[kept])

    def with_others(self, others: Sequence[SortedFloats]) -> SortedFloats:
        """These values and all the others."""
        every = (self, *others)
        return self.of(np.concatenate([one.values for one in every]), np.concatenate([one.places for one in every]))


@dataclass(frozen=True, eq=False)
class SortedIntegers:
    """Whole numbers that no double holds. values: int64, or Python's integers where one has more than 64 bits."""

    values: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    places: Places

    @classmethod
    def of(cls, values: Sequence[int], places: Places) -> SortedIntegers:
        fits = all(-(2**63) <= value < 2**63 for value in values)
        return cls._sorted(np.array(values, np.int64 if fits else object), places)

    @classmethod
    def _sorted(cls, values: npt.NDArray[np.int64] | npt.NDArray[np.object_], places: Places) -> SortedIntegers:
        order = np.argsort(values, kind="stable")
        return cls(values[order], places[order])

    @property
    def nbytes(self) -> int:
        of_objects = 40 * len(self.values) if self.values.dtype == object else 0
        return self.values.nbytes + of_objects + self.places.nbytes

    def below(self, value: Scalar, or_equal: bool) -> int:
        number = _number(value)
        whole = math.floor(number) if or_equal else math.ceil(number)
        return self._searched(whole, "right" if or_equal else "left")

    def equal(self, values: Sequence[Scalar]) -> Runs:
        whole = sorted({int(number) for number in map(_number, values) if number == int(number)})
        starts = [self._searched(value, "left") for value in whole]
        return np.array(starts, np.int64), np.array([self._searched(value, "right") for value in whole], np.int64)

    def _searched(self, value: int, side: str) -> int:
        find = bisect_left if side == "left" else bisect_right
        return find(self.values, value)

    def moved(self, to: Places) -> SortedIntegers:
        places = to[self.places]
        kept = places >= 0
        return SortedIntegers(self.values[kept], places[kept])

    def with_others(self, others: Sequence[SortedIntegers]) -> SortedIntegers:
        every = (self, *others)
        wide = any(one.values.dtype == object for one in every)
        values = np.concatenate([one.values.astype(object if wide else np.int64) for one in every])
        return self._sorted(values, np.concatenate([one.places for one in every]))


@dataclass(frozen=True, eq=False)
class SortedStrings:
    """Texts, ordered by code point, as UTF-8 and Python order them. Each text is held once.

    texts: (u,) ascending, without a null. ends: (u + 1,) int64, where each text's items begin in `places`, and the last
    one's end.
    """

    texts: pa.Array
    ends: npt.NDArray[np.int64]
    places: Places

    @classmethod
    def of(cls, values: pa.ChunkedArray | pa.Array, places: Places) -> SortedStrings:
        """values: (n,) large_string or string, without a null."""
        chunked = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
        encoded = chunked.cast(pa.large_string()).combine_chunks().dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        ranks = rank[encoded.indices.to_numpy()]
        ends = np.zeros(len(order) + 1, np.int64)
        np.cumsum(np.bincount(ranks, minlength=len(order)), out=ends[1:])
        return cls(encoded.dictionary.take(pa.array(order)), ends, places[np.argsort(ranks, kind="stable")])

    @property
    def nbytes(self) -> int:
        return int(self.texts.nbytes) + self.ends.nbytes + self.places.nbytes

    def codes(self, items: int) -> npt.NDArray[np.int32]:
        """The place among the texts of the one that each of so many items has, (items,); NO_TEXT for one without. Of a
        field that no item has two texts of."""
        codes = np.full(items, NO_TEXT, np.int32)
        codes[self.places] = np.repeat(np.arange(len(self.texts), dtype=np.int32), np.diff(self.ends))
        return codes

    def below(self, value: Scalar, or_equal: bool) -> int:
        return int(self.ends[self._searched(str(value), or_equal)])

    def equal(self, values: Sequence[Scalar]) -> Runs:
        wanted = sorted({str(value) for value in values})
        if len(wanted) > _FEW:
            found = pc.is_in(self.texts, value_set=pa.array(wanted, pa.large_string()))
            at = np.flatnonzero(found.to_numpy(zero_copy_only=False))
            return self.ends[at], self.ends[at + 1]
        starts = [self._searched(value, or_equal=False) for value in wanted]
        ends = [self._searched(value, or_equal=True) for value in wanted]
        return self.ends[starts], self.ends[ends]

    def _searched(self, value: str, or_equal: bool) -> int:
        """How many of the texts are below a value, or equal to it too."""
        find = bisect_right if or_equal else bisect_left
        return find(_Texts(self.texts), value)

    def moved(self, to: Places) -> SortedStrings:
        places = to[self.places]
        kept = places >= 0
        counts = np.add.reduceat(np.append(kept, False).astype(np.int64), self.ends[:-1]) if len(self.texts) else kept
        there = counts > 0
        ends = np.concatenate([[0], np.cumsum(counts[there])]).astype(np.int64)
        return SortedStrings(self.texts.filter(pa.array(there)), ends, places[kept])

    def with_others(self, others: Sequence[SortedStrings]) -> SortedStrings:
        every = (self, *others)
        repeated = [one.texts.take(np.repeat(np.arange(len(one.texts)), np.diff(one.ends))) for one in every]
        return self.of(pa.chunked_array(repeated, pa.large_string()), np.concatenate([one.places for one in every]))


class _Texts:
    """Arrow's strings as Python's, each made when it is asked for."""

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, place: int) -> str:
        return str(self._texts[place].as_py())


def _number(value: Scalar) -> int | float:
    if isinstance(value, str):
        raise TypeError(f"{value!r} is compared with numbers")
    return value
