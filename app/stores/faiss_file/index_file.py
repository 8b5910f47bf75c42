"""An index file as another process reads it."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.stores.protocol import StoreAway, WrongPlace

_SPARE_BYTES = 2**30
_SECONDS = 600.0
"""That one answer may take: a file is read from a disk, perhaps a slow one."""
_MOST_WORDS = 2**16
_PACKAGES = Path(__file__).resolve().parents[3]
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE")
_TYPES = ("Flat", "HNSW", "IVF")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def scrubbed_environment() -> dict[str, str]:
    """What a process that parses files sees of ours: no secret."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": str(_PACKAGES)}


@dataclass(frozen=True)
class IndexAbout:
    """What an index is. own_ids: whether it gives its vectors ids. built: how, by the names `building` knows."""

    type: str
    dimension: int
    rows: int
    metric: str
    own_ids: bool
    built: Mapping[str, int]


class IndexFile:
    """path: for errors. descriptor: of the file, closed here. Its calls raise WrongPlace where the file is damaged, or
    of a type that cannot be read."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        memory = 2 * os.fstat(descriptor).st_size + _SPARE_BYTES
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app.stores.faiss_reading", str(descriptor), str(memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**scrubbed_environment(), **_ONE_THREAD},
                pass_fds=(descriptor,),
                bufsize=0,
            )
        finally:
            os.close(descriptor)
        try:
            self.about = self._about()
        except BaseException:
            self.close()
            raise

    def ids(self) -> npt.NDArray[np.int64]:
        """(n,), by the numbers of the vectors."""
        return np.frombuffer(self._asked({"ids": 1}, 8 * self.about.rows), np.int64)

    def between(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The vectors (stop - start, d) of these numbers."""
        body = self._asked({"from": start, "to": stop}, 4 * (stop - start) * self.about.dimension)
        return np.frombuffer(body, np.float32).reshape(-1, self.about.dimension)

    def at(self, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """The vectors (n, d) of numbers (n,)."""
        body = self._asked({"at": list(rows)}, 4 * len(rows) * self.about.dimension)
        return np.frombuffer(body, np.float32).reshape(-1, self.about.dimension)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _about(self) -> IndexAbout:
        try:
            told: Any = json.loads(self._asked({"about": 1}, None))
            if "refused" in told:
                raise WrongPlace(f"{self._path!r} cannot be read: {str(told['refused'])[:500]}")
            about = IndexAbout(
                str(told["type"]),
                int(told["dimension"]),
                int(told["rows"]),
                str(told["metric"]),
                bool(told["own_ids"]),
                {str(name): int(value) for name, value in told["built"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged() from None
        if about.type not in _TYPES or about.dimension < 1 or about.rows < 0:
            raise self._damaged()
        return about

    def _asked(self, order: Mapping[str, Any], length: int | None) -> bytes:
        """The answer to an order, of a length where that is known."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it has said before it ended is read
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
        told = int.from_bytes(self._read(8), "little")
        if told != length and (length is not None or told > _MOST_WORDS):
            raise self._damaged()
        return self._read(told)

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        read = bytearray()
        while len(read) < count:
            if not select.select([self._process.stdout], [], [], _SECONDS)[0]:
                self.close()
                raise StoreAway(f"{self._path!r} was not read within {_SECONDS:g} seconds")
            part = self._process.stdout.read(min(count - len(read), 2**20))
            if not part:
                raise self._damaged()
            read += part
        return bytes(read)

    def _damaged(self) -> WrongPlace:
        return WrongPlace(f"{self._path!r} is no FAISS index, or is damaged: what reads it has ended")
