"""Copies vectors into a target of their store, transformed, and keeps up with what its user changes meanwhile.

It goes in rounds. A round compares all items with the ledger of what was written and with what the target holds, by id
and mark; it writes what is new, changed or lost, and erases what we wrote for items that are gone. Rounds follow each
other until one finds nothing to do: then the target is what the store was when that round began. What changes after
that is found by the next call, so the caller calls once more when a switch is done.

Nothing is done twice but what a killed process had begun: that is written again, to the same effect.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.stores.ahead import Behind, read_ahead
from app.stores.batches import FloatRows, item_batch, vector_array, vectors_of
from app.stores.ledger import NOTHING, Hashes, Ledger, id_hashes, ledger_file, native_marks
from app.stores.noted_writes import write_noted
from app.stores.pacing import WritePace
from app.stores.protocol import Column, Store, Target

CopyProgress = Callable[[int, int], None]
"""Told now and then: how many items have their vector in the target, and of how many that the store has."""

_BATCH_BYTES, _MOST_ROWS, _FEWEST_ROWS = 12 * 2**20, 8192, 64
"""How large a batch is: its new vectors, and its rows."""
_WRITE_SECONDS = 1.0
"""How long a write is to take at most, as stores keep rows locked for its duration: those that are slow, because each
row is brought into an index at once, are given fewer."""
_MOST_ROUNDS = 20
_ID_ROWS = 16_384  # of a batch without vectors
_CHECKED = 256  # items whose vectors are read back
_TINY = 1e-30
_PRECISION = 0.02  # of a vector's length: what stores lose that keep half precision, or a byte a number
_WITH_VECTORS: tuple[Column, ...] = ("id", "vector", "mark")


class WrittenWrong(Exception):
    """The target holds something else than was written to it; what it says names the first such item."""


@dataclass(frozen=True)
class Copied:
    """What a call has done.

    items: that have their vector in the target. native: those of them whose vector there the target's own model made;
    the others' are transformed. without_vector: items of the store that have none. written, erased: what this call did.
    rounds: how often all items were compared. behind: how many the last round found to differ; 0
    where the target was up to date when it began.
    """

    items: int
    native: int
    without_vector: int
    written: int
    erased: int
    rounds: int
    behind: int


@dataclass(frozen=True)
class Copying:
    """From where to where.

    open: opens the store; called several times, as one reads in a thread while another writes. transform: (n, d)
    float32 old vectors to (n, d') float32 new ones. folder: where the ledger is kept, the same whenever this target is
    written to, and by one process at a time. max_writes_per_second: items. batch_rows: how many are written at once;
    left out, as many as 12 MiB of vectors are.
    """

    open: Callable[[], Store]
    target: Target
    transform: Callable[[FloatRows], FloatRows]
    folder: Path
    max_writes_per_second: float | None = None
    batch_rows: int | None = None
    progress: CopyProgress | None = None


def copy_vectors(copying: Copying) -> Copied:
    """Copies what is missing, until a round finds nothing to do or 20 rounds have; repeated, it goes on where it was.

    The target is there already (`make_target`). Raises StoreAway and WrongPlace as the store does, ValueError for a
    transformation that gives no finite vectors of the target's dimension, and WrittenWrong.
    """
    with closing(Ledger(ledger_file(copying.folder, copying.target.name))) as ledger, closing(copying.open()) as store:
        copy = _Copy(copying, ledger, store)
        rounds, found = 0, 1
        with copy.writing() as writing:
            while found and rounds < _MOST_ROUNDS:
                found = copy.round(writing)
                rounds += 1
        copy.check_sample()
        return Copied(len(ledger), copy.native, copy.without_vector, copy.written, copy.erased, rounds, found)


class _Copy:
    """The state of one call."""

    def __init__(self, copying: Copying, ledger: Ledger, store: Store) -> None:
        self._copying, self._ledger, self._store = copying, ledger, store
        self._rows = store.describe().rows
        self._pace = WritePace(copying.max_writes_per_second)
        by_size = max(1, min(_MOST_ROWS, _BATCH_BYTES // (4 * copying.target.dimension)))
        self._batch_rows = self._pace.most_at_once(copying.batch_rows or by_size)
        self._at_once = self._batch_rows
        self._sample: dict[str, int] = {}
        self._draw = np.random.default_rng(0)
        self.written = self.erased = self.without_vector = self.native = 0

    def round(self, writing: Behind[pa.RecordBatch]) -> int:
        """How many items were found to differ from the target, and are now written or erased."""
        ledger = self._ledger
        held = self._held()
        self._sample, self.without_vector, self.native = {}, 0, 0
        seen: list[Hashes] = []
        found = 0
        for batch in self._differing(held, seen):
            found += batch.num_rows
            writing.do(self._transformed(batch))
        writing.wait()
        ledger.gather()
        gone = np.setdiff1d(ledger.known(), np.concatenate(seen) if seen else np.empty(0, np.uint64))
        if len(gone):
            self._erase(gone)
            ledger.gather()
        self._tell(len(ledger))
        return found + len(gone)

    def check_sample(self) -> None:
        """Reads back vectors of some items that the last round found in the target. Raises WrittenWrong."""
        if not self._sample:
            return
        target, transform = self._copying.target, self._copying.transform
        new = self._store.written_by_id(target, list(self._sample))
        old = self._store.by_id(new.column("id").to_pylist(), _WITH_VECTORS)
        written = dict(zip(new.column("id").to_pylist(), vectors_of(new)[0], strict=True))
        vectors, _ = vectors_of(old)
        for id_, mark, vector in zip(
            old.column("id").to_pylist(), old.column("mark").to_pylist(), transform(vectors), strict=True
        ):
            # One that has changed since is none to judge by.
            if mark == self._sample[id_] and not _alike(written[id_], vector, target):
                raise WrittenWrong(f"{target.name!r} holds another vector of {id_!r} than was written to it")

    def _held(self) -> Hashes:
        """The items that the target holds a vector of, in ascending order; not asked for where we wrote none."""
        if len(self._ledger.known()) == 0:
            return np.empty(0, np.uint64)
        batches = self._store.written(self._copying.target, batch_rows=_ID_ROWS)
        parts = [id_hashes(batch.column("id").to_pylist()) for batch in batches]
        return np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))

    def _differing(self, held: Hashes, seen: list[Hashes]) -> Iterator[pa.RecordBatch]:
        """The items that are to be written, with their vectors. seen: is given the hashes of all that have a vector."""
        whole = len(self._ledger) < self._rows / 2  # else few vectors are to be read, which are asked for one by one
        columns: tuple[Column, ...] = _WITH_VECTORS if whole else ("id", "mark")
        waiting: list[str] = []
        with closing(read_ahead(lambda: self._scanned(columns))) as batches:
            for batch in batches:
                differs = self._differs(batch, held, seen)
                if whole:
                    if differs.any():
                        yield batch if differs.all() else batch.filter(pa.array(differs))
                    continue
                waiting += batch.column("id").filter(pa.array(differs)).to_pylist()
                while len(waiting) >= self._batch_rows:
                    yield from self._with_vectors(waiting[: self._batch_rows])
                    del waiting[: self._batch_rows]
        yield from self._with_vectors(waiting)

    def _differs(self, batch: pa.RecordBatch, held: Hashes, seen: list[Hashes]) -> npt.NDArray[np.bool_]:
        """(n,) whether an item has a vector, and the target none that goes with it: neither that one transformed, nor
        what the target's own model made when the item had the same."""
        ids = batch.column("id").to_pylist()
        hashes, marks = id_hashes(ids), batch.column("mark").to_numpy()
        there = marks != NOTHING
        known, there_still = self._ledger.marks(hashes), there & _within(hashes, held)
        transformed, native = there_still & (known == marks), there_still & (known == native_marks(marks))
        seen.append(hashes[there])
        self.without_vector += int(np.count_nonzero(~there))
        self.native += int(np.count_nonzero(native))
        for row in np.flatnonzero(transformed & (self._draw.random(len(ids)) < _CHECKED / max(1, self._rows))):
            self._sample[ids[row]] = int(marks[row])
        differs: npt.NDArray[np.bool_] = there & ~(transformed | native)
        return differs

    def _with_vectors(self, ids: list[str]) -> Iterator[pa.RecordBatch]:
        if ids:
            found = self._store.by_id(ids, _WITH_VECTORS)
            if (found := found.filter(found.column("vector").is_valid())).num_rows:
                yield found

    def _scanned(self, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        with closing(self._copying.open()) as store:
            rows = self._batch_rows if "vector" in columns else _ID_ROWS
            yield from store.scan(columns, batch_rows=rows)

    def _transformed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        old, _ = vectors_of(batch)
        new = self._copying.transform(old)
        if new.shape != (len(old), self._copying.target.dimension) or not np.isfinite(new).all():
            raise ValueError(f"the transformation gave no finite vectors of {self._copying.target.dimension} numbers")
        return item_batch(
            ("id", "vector", "mark"),
            {"id": batch.column("id"), "vector": vector_array(new), "mark": batch.column("mark")},
        )

    @contextmanager
    def writing(self) -> Iterator[Behind[pa.RecordBatch]]:
        """What writes in a thread of its own, through a store of its own."""
        with (
            closing(self._copying.open()) as store,
            Behind[pa.RecordBatch](lambda batch: self._write_in_time(store, batch)) as one,
        ):
            yield one

    def _write_in_time(self, store: Store, batch: pa.RecordBatch) -> None:
        while batch.num_rows:
            rows = min(batch.num_rows, self._at_once)
            self._pace.wait(rows)
            began = time.monotonic()
            self._write(store, batch.slice(0, rows))
            batch = batch.slice(rows)
            fitting = int(rows * _WRITE_SECONDS / max(1e-3, time.monotonic() - began))
            self._at_once = max(_FEWEST_ROWS, min(self._batch_rows, fitting, 2 * self._at_once))

    def _write(self, store: Store, batch: pa.RecordBatch) -> None:
        done = write_noted(store, self._copying.target, self._ledger, batch, batch.column("mark").to_numpy())
        self.written += int(np.count_nonzero(done))
        self._tell(min(self._rows, len(self._ledger) + self.written))

    def _erase(self, gone: Hashes) -> None:
        """Takes what we wrote for these items out of the target."""
        target, erased = self._copying.target, []
        for batch in self._store.written(target, batch_rows=_ID_ROWS):
            ids = batch.column("id")
            erased += ids.filter(pa.array(_within(id_hashes(ids.to_pylist()), gone))).to_pylist()
        for begin in range(0, len(erased), self._batch_rows):
            some = erased[begin : begin + self._batch_rows]
            self._pace.wait(len(some))
            self._store.erase(target, some)
        self.erased += len(erased)
        self._ledger.note(gone, NOTHING)

    def _tell(self, items: int) -> None:
        if self._copying.progress is not None:
            self._copying.progress(items, self._rows)


def _within(hashes: Hashes, ascending: Hashes) -> npt.NDArray[np.bool_]:
    """(n,) whether each is among others that are in ascending order."""
    if len(ascending) == 0:
        return np.zeros(len(hashes), bool)
    places = np.minimum(np.searchsorted(ascending, hashes), len(ascending) - 1)
    within: npt.NDArray[np.bool_] = ascending[places] == hashes
    return within


def _alike(found: FloatRows, wanted: FloatRows, target: Target) -> bool:
    """Whether a vector read back is the one written, but for the store's own precision; where lengths do not count, the
    store may have made it a unit vector."""
    if target.metric == "cosine":
        # A vector without a direction stays what it is.
        found, wanted = (vector / max(float(np.linalg.norm(vector)), _TINY) for vector in (found, wanted))
    return bool(np.linalg.norm(found - wanted) <= _PRECISION * np.linalg.norm(wanted))
