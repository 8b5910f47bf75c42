"""What an upgrade has written to a target: by a hash of each item's id, the mark that its old vector had, and whether
what was written is that vector transformed, or one that the target's own model made.

A file that only grows, 16 bytes a line: what is about to be written is noted before, what was written after. A process
that is killed at any time leaves a file that says no more than was done, and names all that may have been done.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.portable import publish

Hashes = npt.NDArray[np.uint64]

NOTHING, BEGUN = np.uint64(0), np.uint64(2**64 - 1)
"""In place of a mark: of an item that has nothing in the target, and of one whose write may or may not be done."""

_NATIVE = np.uint64(0x9E3779B97F4A7C15)

_LINE = np.dtype([("id", "<u8"), ("mark", "<u8")])


def ledger_file(folder: Path, target: str) -> Path:
    """The file in which it is noted what was written to a target, by its name."""
    return folder / f"{target}.ledger"


def id_hashes(ids: Sequence[str]) -> Hashes:
    """(n,) uint64: of 10 million ids, two have the same one with a probability of 3 in a million."""
    digests = b"".join(hashlib.blake2b(id_.encode(), digest_size=8).digest() for id_ in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def native_marks(marks: Hashes) -> Hashes:
    """(n,) what is noted of items with these marks whose vector in the target its own model made, and none transformed:
    no mark of an item but with a probability of 2⁻⁶⁴."""
    return marks ^ _NATIVE


@dataclass(frozen=True)
class Noted:
    """What is known of items. ids: (n,), in ascending order; marks: (n,), of each."""

    ids: Hashes
    marks: Hashes

    @classmethod
    def read(cls, file: Path) -> Noted:
        """As far as a ledger is written by now, by whoever writes it; nothing where there is none."""
        try:
            lines = np.fromfile(file, _LINE)
        except FileNotFoundError:
            lines = np.empty(0, _LINE)
        return _newest(lines["id"].astype(np.uint64), lines["mark"].astype(np.uint64))

    def of(self, ids: Hashes) -> Hashes:
        """(m,) what is known of these items; NOTHING for those of which nothing is."""
        if len(self.ids) == 0:
            return np.zeros(len(ids), np.uint64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        marks: Hashes = np.where(self.ids[places] == ids, self.marks[places], NOTHING)
        return marks


class Ledger:
    """Of one target. Held in memory as two arrays, 16 bytes an item; `noted` is kept, and counts for what is asked once
    `gather` has brought it in."""

    def __init__(self, file: Path) -> None:
        """Opens or makes it."""
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._known = Noted.read(file)
        self._noted: list[tuple[Hashes, Hashes]] = []
        self._write_compact()
        self._handle = os.open(file, os.O_WRONLY | os.O_APPEND)

    def __len__(self) -> int:
        """How many items have their vector in the target."""
        return int(np.count_nonzero((self._known.marks != NOTHING) & (self._known.marks != BEGUN)))

    def marks(self, ids: Hashes) -> Hashes:
        """(n,) what is known of these items; NOTHING for those of which nothing is."""
        return self._known.of(ids)

    def known(self) -> Hashes:
        """The items that have, or may have, something in the target; in ascending order."""
        known: Hashes = self._known.ids[self._known.marks != NOTHING]
        return known

    def note(self, ids: Hashes, marks: Hashes | np.uint64) -> None:
        """Keeps lines for good: durable when it returns."""
        lines = np.empty(len(ids), _LINE)
        lines["id"], lines["mark"] = ids, marks
        data = lines.tobytes()
        while data:
            data = data[os.write(self._handle, data) :]
        os.fdatasync(self._handle)
        self._noted.append((ids, lines["mark"].astype(np.uint64)))

    def gather(self) -> None:
        """Brings what was noted since into what is known."""
        ids = np.concatenate([self._known.ids, *(ids for ids, _ in self._noted)])
        marks = np.concatenate([self._known.marks, *(marks for _, marks in self._noted)])
        self._known = _newest(ids, marks)
        self._noted.clear()

    def close(self) -> None:
        os.close(self._handle)

    def _write_compact(self) -> None:
        """The file with one line an item, in place of all that was noted of it; whole lines, where one broke off."""
        lines = np.empty(len(self._known.ids), _LINE)
        lines["id"], lines["mark"] = self._known.ids, self._known.marks
        if not self._file.exists() or self._file.stat().st_size != lines.nbytes:
            publish(self._file, lines.tobytes())


def _newest(ids: Hashes, marks: Hashes) -> Noted:
    """Of each id the last mark, in ascending order of the ids."""
    found, last = np.unique(ids[::-1], return_index=True)
    return Noted(found, marks[::-1][last])
