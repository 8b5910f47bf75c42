"""Puts vectors that a target's own model made in place of transformed ones."""

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from app.stores.ledger import NOTHING, Ledger, id_hashes, native_marks
from app.stores.noted_writes import write_noted
from app.stores.protocol import Store, Target


def write_native(store: Store, target: Target, ledger: Path, items: pa.RecordBatch) -> list[str]:
    """The ids of the items whose vectors are in the target now, durably; copying leaves these alone until the item's
    old vector changes.

    items: as `Store.write` takes them; `mark`: that of the old vector when it was read what `vector` was made of. One
    is passed over that had no old vector by then, or whose old vector of that mark is not in the target, transformed:
    the next comparison writes the one that it has, or has done so since. ledger: the target's file, which nobody else
    writes to meanwhile.
    """
    with closing(Ledger(ledger)) as opened:
        marks = items.column("mark").to_numpy()
        known = opened.marks(id_hashes(items.column("id").to_pylist()))
        goes_with = (known == marks) | (known == native_marks(marks))
        items = items.filter(pa.array(goes_with & (marks != NOTHING)))
        if not items.num_rows:
            return []
        done = write_noted(store, target, opened, items, native_marks(items.column("mark").to_numpy()))
        return list(items.column("id").filter(pa.array(done)).to_pylist())
