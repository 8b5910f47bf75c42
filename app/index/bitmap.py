"""A set of positions in an array, one bit each, in the layout of `faiss.IDSelectorBitmap`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss

Positions = npt.NDArray[np.int64]

_SPARSE = 16  # times as many positions as members, from which on most bytes are empty
_FEW = 64  # times as many positions as are given, from which on it is better to set bits one by one


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """An immutable subset of `range(size)`: bit i & 7 of byte i >> 3 says whether i is in it; `count` are."""

    bits: npt.NDArray[np.uint8]
    size: int
    count: int

    @classmethod
    def of(cls, members: npt.NDArray[np.bool_]) -> Bitmap:
        """The positions where members (size,) bool is true."""
        return cls(np.packbits(members, bitorder="little"), len(members), int(members.sum()))

    @classmethod
    def full(cls, size: int) -> Bitmap:
        return cls.of(np.ones(size, bool))

    def members(self) -> Positions:
        if self.count * _SPARSE < self.size:
            at = np.flatnonzero(self.bits)
            byte, bit = np.nonzero(np.unpackbits(self.bits[at], bitorder="little").reshape(-1, 8))
            return at[byte] * 8 + bit
        return np.flatnonzero(np.unpackbits(self.bits, count=self.size, bitorder="little"))

    def has(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Which of the positions, all within the size, are in the set. Same shape as given."""
        bits = (self.bits[positions >> 3] >> (positions & 7).astype(np.uint8)) & 1
        return np.asarray(bits, bool)

    def with_more(self, members: npt.NDArray[np.bool_]) -> Bitmap:
        """The set over `size + len(members)` positions, the new ones as `members` (n,) bool says."""
        tail = self.size & ~7
        kept = np.unpackbits(self.bits[tail >> 3 :], count=self.size - tail, bitorder="little").astype(bool)
        bits = np.concatenate([self.bits[: tail >> 3], np.packbits(np.concatenate([kept, members]), bitorder="little")])
        return Bitmap(bits, self.size + len(members), self.count + int(members.sum()))

    def after(self, start: int) -> Bitmap:
        """The members from `start` on, a multiple of 8, as positions that count from there."""
        bits = self.bits[start >> 3 :]
        return Bitmap(bits, self.size - start, int(np.bitwise_count(bits).sum()))

    def without(self, positions: Positions) -> Bitmap:
        gone = np.unique(positions[self.has(positions)])
        if not len(gone):
            return self
        bits = self.bits.copy()
        np.bitwise_and.at(bits, gone >> 3, ~np.left_shift(1, gone & 7).astype(np.uint8))
        return Bitmap(bits, self.size, self.count - len(gone))

    def only(self, positions: Positions) -> Bitmap:
        """The positions that are members of the set, of those given."""
        if len(positions) * _FEW > self.size:
            members = np.zeros(self.size, bool)
            members[positions[self.has(positions)]] = True
            return Bitmap.of(members)
        kept, bits = np.unique(positions[self.has(positions)]), np.zeros_like(self.bits)
        np.bitwise_or.at(bits, kept >> 3, np.left_shift(1, kept & 7).astype(np.uint8))
        return Bitmap(bits, self.size, len(kept))

    def selector(self) -> faiss.IDSelector:
        """For FAISS, which reads `bits` in place: the set must outlive the search."""
        return faiss.IDSelectorBitmap(len(self.bits), faiss.swig_ptr(self.bits))
