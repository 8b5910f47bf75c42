"""Which part of something each key is in: 12 bytes a key, however long the keys are."""

from collections.abc import Iterable
from typing import Any

import numpy as np

KeyHashes = np.ndarray[Any, np.dtype[np.int64]]
KeyParts = np.ndarray[Any, np.dtype[np.int32]]
NOWHERE = -1


def hashes_of(keys: Iterable[str], count: int) -> KeyHashes:
    """64 bits of each key, others in each process: nobody can choose keys that have the same."""
    return np.fromiter(map(hash, keys), np.int64, count)


class KeyIndex:
    """Keys by their hashes, each in one part. Adding is as in a log-structured merge tree: sorted runs, of which those
    of similar sizes are merged, so that n keys are added in O(n log² n), in any number of calls."""

    def __init__(self) -> None:
        self._runs: list[tuple[KeyHashes, KeyParts]] = []

    def find(self, keys: KeyHashes) -> KeyParts:
        """The part of each key, NOWHERE for one that is in none."""
        found = np.full(len(keys), NOWHERE, np.int32)
        for hashes, parts in self._runs:
            places, there = _places(hashes, keys)
            found[there] = parts[places[there]]
        return found

    def put(self, keys: KeyHashes, part: int) -> None:
        """Has keys, each given once, be in a part, wherever they were before."""
        new = np.ones(len(keys), bool)
        for hashes, parts in self._runs:
            places, there = _places(hashes, keys)
            parts[places[there]] = part
            new &= ~there
        added = np.sort(keys[new])
        if len(added):
            self._runs.append((added, np.full(len(added), part, np.int32)))
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) > len(self._runs[-2][0]):
            self._merge()

    def _merge(self) -> None:
        """The last two runs become one."""
        (first, first_parts), (second, second_parts) = self._runs[-2:]
        hashes, parts = np.concatenate((first, second)), np.concatenate((first_parts, second_parts))
        order = np.argsort(hashes, kind="stable")
        self._runs[-2:] = [(hashes[order], parts[order])]


class KeyPlaces:
    """Keys by their hashes, each at the place that it was given at: 16 bytes a key."""

    def __init__(self, keys: KeyHashes) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._hashes = keys[self._order]

    def find(self, keys: KeyHashes) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The place of each key, NOWHERE for one that is not there."""
        if not len(self._hashes):
            return np.full(len(keys), NOWHERE, np.int64)
        places, there = _places(self._hashes, keys)
        return np.where(there, self._order[places], NOWHERE)

    def twice(self) -> int | None:
        """The place of a key that was given before; None where each is there once."""
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        return int(self._order[same[0] + 1]) if len(same) else None


def _places(hashes: KeyHashes, keys: KeyHashes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Where among sorted hashes each key is, and whether it is."""
    places = np.searchsorted(hashes, keys)
    np.minimum(places, len(hashes) - 1, out=places)
    return places, hashes[places] == keys
