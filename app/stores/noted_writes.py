"""A batch written to a target, noted in its ledger before and after."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.failpoints import Failpoint, reached
from app.stores.ledger import BEGUN, Hashes, Ledger, id_hashes
from app.stores.protocol import Store, Target


def write_noted(
    store: Store, target: Target, ledger: Ledger, items: pa.RecordBatch, noted: Hashes
) -> npt.NDArray[np.bool_]:
    """Writes items as `Store.write` takes them, durably; (n,) which were written. noted: (n,) uint64, what the ledger
    says of each from then on; of one that was not written, that its write may or may not be done."""
    hashes = id_hashes(items.column("id").to_pylist())
    ledger.note(hashes, BEGUN)
    reached(Failpoint.STORE_BATCH_BEGUN)
    refused = id_hashes(store.write(target, items))
    reached(Failpoint.STORE_BATCH_WRITTEN)
    done: npt.NDArray[np.bool_] = ~np.isin(hashes, refused)
    ledger.note(hashes[done], noted[done])
    reached(Failpoint.STORE_BATCH_NOTED)
    return done
