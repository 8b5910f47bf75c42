"""An upgrade whose crossing a benchmark learns itself, in place of the step that trains."""

import numpy as np
import pyarrow as pa

from app.composition import Crosswalk
from app.datasets.schemas import NewDataset
from app.jobs.leases import Leases
from app.keys.access import EVERYTHING
from app.storage.lance_table import embedding_column, vector_type
from app.upgrades.enough import FEWEST_PAIRS
from app.upgrades.forward_request import ForwardUpgrade
from app.upgrades.states import Event
from models.portable import Space

_DATASET = "pairs"
_STEP = "train"


def start_learned(crosswalk: Crosswalk, source: Space, target: Space, gallery: str, *, rewrite: bool = True) -> str:
    """Starts an upgrade of a gallery, and ends its training with nothing learned; the id of the upgrade, which is now
    being evaluated, and whose artifacts the caller writes.

    rewrite: whether the gallery is to be transformed; otherwise queries of the new model are pushed back to it.
    """
    crosswalk.datasets.create(NewDataset(id=_DATASET))
    _put_rows(crosswalk, source, target)
    request = ForwardUpgrade(to=target.model, dataset=_DATASET, galleries=[gallery], rewrite=rewrite)
    with crosswalk.database.session() as session:
        upgrade = crosswalk.upgrades.start(session, source.model, request, EVERYTHING).id
    leases = Leases(crosswalk.database, crosswalk.settings, crosswalk.step_failed)
    lease = leases.claim([_STEP])
    if lease is None:
        raise RuntimeError("no step waits to train")
    crosswalk.upgrade_steps.begin(upgrade)
    leases.finish(lease, lambda session: crosswalk.upgrade_steps.advance(session, upgrade, Event.TRAINED, learned={}))
    return upgrade


def _put_rows(crosswalk: Crosswalk, *spaces: Space) -> None:
    """As many pairs as an upgrade must have at least, of zeros: nothing reads them."""
    kinds = {embedding_column(space.model): vector_type(space.dimension) for space in spaces}
    schema = pa.schema({"id": pa.string(), **kinds})
    zeros = [[np.zeros(space.dimension, np.float32)] * FEWEST_PAIRS for space in spaces]
    vectors = [pa.array(cells, kind) for cells, kind in zip(zeros, kinds.values(), strict=True)]
    names = pa.array([f"row-{row}" for row in range(FEWEST_PAIRS)])
    batch = pa.RecordBatch.from_arrays([names, *vectors], schema=schema)
    crosswalk.datasets.store(_DATASET).put(schema, lambda: iter([batch]))
