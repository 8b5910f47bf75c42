"""Where rows are compared with centroids while an inverted file is built: on the processor, or on GPUs.

To learn the centroids and to find the nearest one of every row is nearly all of that work, and FAISS does both on GPUs
where it was built for them (the package faiss-gpu). Scores are float32 there too, but rounded otherwise, so that rows
about as near to two centroids may be of the other: the file is as good, and of the same format, but not the same to the
bit. What it proposes is scored by the processor. Graphs are built by the processor alone.

The processor finds the nearest of many centroids by a graph of them, which puts about one row in five thousand into
another list than comparing with all of them would.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from app.faiss_library import faiss
from app.settings import IndexDevice

_CENTROIDS_FOR_A_GRAPH = 2_000  # from how many on it is faster than to compare with all of them
_LINKS, _BEAM = 16, 32  # of the graph, and of a search of it

log = structlog.get_logger(__name__)


class DeviceFailed(Exception):
    """A GPU that was to be used is not there, or could not do what it was asked to."""


def on_gpus(device: IndexDevice) -> bool:
    """Whether inverted files are built on GPUs; by "auto" they are where FAISS sees one.

    Raises DeviceFailed for "cuda" where it sees none.
    """
    if device == "cpu":
        return False
    found = bool(faiss.get_num_gpus() > 0)  # a build without GPUs sees none
    if device == "cuda" and not found:
        raise DeviceFailed(
            "CROSSWALK_INDEX_DEVICE is cuda, and FAISS sees no GPU here: that takes the package faiss-gpu "
            "(pip install '.[gpu]') and an NVIDIA driver. Set it to auto, or to cpu."
        )
    return found


@contextmanager
def comparing(flat: faiss.IndexFlat, device: IndexDevice, *, centroids: int, rows: int) -> Iterator[faiss.Index]:
    """What compares so many rows with so many centroids: the vectors of an exact index, or those that are given to it
    instead. Where they are compared by the inner product, centroids have length 1, as FAISS makes them.

    It is a copy on every GPU that can be seen, among which rows are divided; on the processor, the index itself, or,
    where that takes longer, a graph of its vectors.
    Where a GPU is used and FAISS fails, as for want of the GPU's memory, that is logged and raised as DeviceFailed.
    """
    if not on_gpus(device):
        many = centroids >= _CENTROIDS_FOR_A_GRAPH and rows >= centroids  # else building a graph takes longer
        yield _graph(flat) if many else flat
        return
    try:
        yield faiss.index_cpu_to_all_gpus(flat)
    except RuntimeError as error:  # the only one that FAISS has
        reason = " ".join(str(error).split())
        log.error("an index could not be built with a GPU", reason=reason)
        raise DeviceFailed(
            f"The index could not be built with a GPU; CROSSWALK_INDEX_DEVICE=cpu uses none. FAISS says: {reason}"
        ) from error


def _graph(flat: faiss.IndexFlat) -> faiss.IndexHNSWFlat:
    """A graph of the vectors of an exact index."""
    graph = faiss.IndexHNSWFlat(flat.d, _LINKS, flat.metric_type)
    graph.hnsw.efSearch = _BEAM
    if flat.ntotal:
        graph.add(flat.reconstruct_n(0, flat.ntotal))
    return graph
