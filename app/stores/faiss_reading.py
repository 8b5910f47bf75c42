"""Reads one FAISS index file in a process of its own: python -m app.stores.faiss_reading DESCRIPTOR MEMORY.

FAISS parses files in native code that trusts them, and maps or loads all of one. So that happens here, where a file
that is damaged or made to harm ends this process alone, which can neither write nor see a secret. Orders come on
standard input, a line of JSON each: `{"about": 1}`, `{"ids": 1}`, `{"from": a, "to": b}`, `{"at": [...]}`. An answer is
8 bytes of its length, and then JSON, or the bytes of int64 ids or of float32 vectors. Vectors are numbered as they were
added; those of an inverted file, which keeps no such order, by their ids.
"""

import json
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from app.faiss_library import faiss

ReadIds = npt.NDArray[np.int64]
ReadVectors = npt.NDArray[np.float32]


class Unreadable(Exception):
    """The index is of a type that keeps no vectors as they were; what it says names the type."""


def main(descriptor: int, memory: int) -> None:
    """memory: the bytes that may be used beside what is imported already."""
    _limit(memory)
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        index = IndexVectors(faiss.read_index(f"/dev/fd/{descriptor}", faiss.IO_FLAG_MMAP_IFC))
    except Unreadable as error:
        _answer(answers.write, json.dumps({"refused": str(error)}).encode())
        answers.flush()
        return
    except (RuntimeError, MemoryError) as error:
        damaged = "it needs more memory than its size" if isinstance(error, MemoryError) else "FAISS cannot read it"
        _answer(answers.write, json.dumps({"refused": damaged}).encode())
        answers.flush()
        return
    for line in orders:
        order = json.loads(line)
        if "about" in order:
            body = json.dumps(index.about()).encode()
        elif "ids" in order:
            body = index.ids.tobytes()
        else:
            wanted = np.array(order["at"], np.int64) if "at" in order else np.arange(order["from"], order["to"])
            body = index.vectors(wanted).tobytes()
        _answer(answers.write, body)
        answers.flush()


class IndexVectors:
    """The vectors of an index as they were added to it, and their ids."""

    def __init__(self, index: Any) -> None:
        """Raises Unreadable."""
        self._kept = [index]  # what is downcast belongs to what it is a part of
        inner = self._downcast(index)
        self._given: ReadIds | None = None
        if isinstance(inner, faiss.IndexIDMap):
            self._given = faiss.vector_to_array(inner.id_map).astype(np.int64)
            inner = self._downcast(inner.index)
        self._index = inner
        self._lists: ReadIds | None = None
        if isinstance(inner, faiss.IndexHNSWFlat):
            self.type, self._flat = "HNSW", self._flat_of(self._downcast(inner.storage))
        elif isinstance(inner, faiss.IndexFlat):
            self.type, self._flat = "Flat", self._flat_of(inner)
        elif isinstance(inner, faiss.IndexIVFFlat):
            self.type = "IVF"
            self._find_in_lists(inner)
        else:
            raise Unreadable(
                f"it is an {type(inner).__name__}; read are IndexFlat, IndexHNSWFlat and IndexIVFFlat, which keep "
                "vectors as they are, alone or in an IndexIDMap"
            )
        if inner.metric_type not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2):
            raise Unreadable("its metric is neither the inner product nor L2")
        if self._given is not None and len(self._given) != inner.ntotal:
            raise Unreadable("it has not as many ids as vectors")

    @property
    def ids(self) -> ReadIds:
        return np.arange(self._index.ntotal) if self._given is None else self._given

    def about(self) -> dict[str, Any]:
        index = self._index
        built: dict[str, int] = {}
        if self.type == "HNSW":
            built = {"m": index.hnsw.nb_neighbors(1), "ef_construction": index.hnsw.efConstruction}
        elif self.type == "IVF":
            built = {"lists": index.nlist}
        metric = "l2" if index.metric_type == faiss.METRIC_L2 else "ip"
        return {
            "type": self.type,
            "dimension": index.d,
            "rows": index.ntotal,
            "metric": metric,
            "own_ids": self._given is not None,
            "built": built,
        }

    def vectors(self, rows: ReadIds) -> ReadVectors:
        """(n, d) float32 of the numbers (n,)."""
        if self._lists is None:
            found: ReadVectors = self._flat[rows]
            return found
        lists, offsets = self._lists[rows], self._offsets[rows]
        vectors = np.empty((len(rows), self._index.d), np.float32)
        for number in np.unique(lists):
            here = lists == number
            vectors[here] = self._list(int(number))[offsets[here]]
        return vectors

    def _downcast(self, index: Any) -> Any:
        found = faiss.downcast_index(index)
        self._kept.append(found)
        return found

    def _flat_of(self, storage: Any) -> ReadVectors:
        if not isinstance(storage, faiss.IndexFlat) or storage.codes.size() != 4 * storage.ntotal * storage.d:
            raise Unreadable("its vectors are not those of an IndexFlat")
        if storage.ntotal != self._index.ntotal or storage.d != self._index.d:
            raise Unreadable("it contradicts itself on how many vectors it has")
        found: ReadVectors = faiss.rev_swig_ptr(storage.get_xb(), storage.ntotal * storage.d).reshape(-1, storage.d)
        return found

    def _find_in_lists(self, index: Any) -> None:
        """Where each vector is, in the order of their ids."""
        inverted = index.invlists
        if inverted.nlist != index.nlist or inverted.code_size != 4 * index.d:
            raise Unreadable("its lists are not those of an IndexIVFFlat")
        sizes = np.array([inverted.list_size(number) for number in range(index.nlist)], np.int64)
        if sizes.sum() != index.ntotal:
            raise Unreadable("its lists hold not as many vectors as it says")
        held = [faiss.rev_swig_ptr(inverted.get_ids(n), int(size)).copy() for n, size in enumerate(sizes) if size]
        ids = np.concatenate([np.empty(0, np.int64), *held])
        lists = np.repeat(np.arange(index.nlist), sizes)
        offsets = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        self._lists, self._offsets = lists[order], offsets[order]
        if self._given is None and not np.array_equal(ids, np.arange(len(ids))):
            self._given = ids
        elif self._given is not None:  # a map's own ids are by the numbers that the inverted file has as ids
            self._given = self._given[ids]

    def _list(self, number: int) -> ReadVectors:
        inverted = self._index.invlists
        size = inverted.list_size(number)
        codes = faiss.rev_swig_ptr(inverted.get_codes(number), size * inverted.code_size)
        found: ReadVectors = codes.view(np.float32).reshape(size, self._index.d)
        return found


def _answer(write: Callable[[bytes], object], body: bytes) -> None:
    write(len(body).to_bytes(8, "little"))
    write(body)


def _limit(memory: int) -> None:
    """Bounds this process for good: address space (where the kernel counts it), no file written, no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # macOS takes the limit and ignores it
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
