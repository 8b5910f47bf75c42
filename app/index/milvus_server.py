"""A Milvus server, asked with time limits. Whatever keeps it from answering is told as one problem, 503.

pymilvus is imported with the first call: a service whose engine is another one needs not have it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import SecretStr

from app.index.bitmap import Positions
from app.index.protocol import PADDING, RowIds, Vectors
from app.problems import IndexEngineAway, IndexEngineRefuses, IndexLost, Unavailable
from app.short_calls import leave_event_loop

ROW, VECTOR = "row", "vector"
MOST_HITS = 16_384  # of one query: Milvus's own limit
MOST_BYTES = 2**26  # of one answer; Milvus gives 100 MB at most
_MESSAGE_BYTES = 2**24  # of one insert; Milvus takes 64 MB at most
_BUILD_SECONDS = 24 * 3600.0  # for building an index over a whole collection and loading it
_LOADS = 3
_MOST_ROWS = 8_192  # asked for by their ids at once
_COLLECTION_NOT_FOUND, _COLLECTION_NOT_LOADED = 100, 101
_CONNECT_FAILED = 2  # what gRPC itself says has no number
_NOT_READY = "not ready"  # while it starts or stops
_UNAUTHENTICATED = ("UNAUTHENTICATED", "auth check failure", "PERMISSION_DENIED")

_CHANNEL = {
    "grpc.keepalive_permit_without_calls": 0,  # a server of gRPC's defaults hangs up on who does
    # A server that is back is found within a second; gRPC would wait up to two minutes after a few failures.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.use_local_subchannel_pool": 1,
}

log = structlog.get_logger(__name__)


class _Released(Exception):
    """The collection is there, and has to be loaded."""


@dataclass(frozen=True)
class MilvusAddress:
    """uri: http(s)://host:port, with /database or without. seconds: that a call may take; building takes longer."""

    uri: str
    token: SecretStr | None
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """What Milvus finds for m queries: t rows in all, with a row for each of a query's own f.

    rows: (t,) int64. vectors: (t, w) float32. positions: (m, f) int64 among the t, best first, -1 for none. similarity:
    (m, f) float32 inner products.
    """

    rows: RowIds
    vectors: Vectors
    positions: Positions
    similarity: npt.NDArray[np.float32]


class MilvusServer:
    """Every call raises IndexEngineAway where no answer comes in time, or the token is refused; IndexLost where there
    is no such collection; and IndexEngineRefuses where the answer is another error."""

    def __init__(self, address: MilvusAddress) -> None:
        self._address = address
        self._connecting = threading.Lock()
        self._client: Any = None

    @property
    def host(self) -> str:
        """Where it is, for people: host and port."""
        return urlsplit(self._address.uri).netloc.rpartition("@")[2]

    def answers(self) -> bool:
        """Raises IndexEngineAway where it does not."""
        self._call("list_collections")
        return True

    def create(self, collection: str, width: int, description: str) -> None:
        """An empty collection of vectors of a width, each under its row id."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
        schema.add_field(ROW, DataType.INT64, is_primary=True)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=width)
        self._call("create_collection", collection, schema=schema)

    def insert(self, collection: str, rows: RowIds, vectors: Vectors) -> None:
        """rows: (n,) int64, new to the collection. vectors: (n, w) float32."""
        step = max(1, _MESSAGE_BYTES // (4 * vectors.shape[1] + 16))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            data = [{ROW: row, VECTOR: vector} for row, vector in zip(rows[part].tolist(), vectors[part], strict=True)]
            self._call("insert", collection, data=data)

    def build(self, collection: str, kind: str, parameters: dict[str, int]) -> None:
        """Indexes what was inserted by inner product, and loads it: from now on it can be searched."""
        from pymilvus import MilvusClient

        index = MilvusClient.prepare_index_params()
        index.add_index(VECTOR, index_type=kind, metric_type="IP", params=parameters)
        self._call("flush", collection, seconds=_BUILD_SECONDS)
        self._call("create_index", collection, index_params=index, seconds=_BUILD_SECONDS)
        self._call("load_collection", collection, seconds=_BUILD_SECONDS)

    def count(self, collection: str) -> int | None:
        """How many rows a collection holds, every insert included; None where there is no such collection."""
        if not self._call("has_collection", collection):
            return None
        (counted,) = self._read("query", collection, output_fields=["count(*)"], consistency_level="Strong")
        return int(counted["count(*)"])

    def drop(self, collection: str) -> None:
        """Removes a collection, if it is there, with the aliases that lead to it."""
        if not self._call("has_collection", collection):
            return
        for alias in self._call("list_aliases", collection)["aliases"]:
            self._call("drop_alias", alias)
        self._call("drop_collection", collection)

    def point_alias(self, alias: str, collection: str) -> None:
        """Has an alias lead to a collection, wherever it led before."""
        if self._has_alias(alias):
            self._call("alter_alias", collection, alias)
        else:
            self._call("create_alias", collection, alias)

    def drop_alias(self, alias: str) -> None:
        """Has an alias, if there is one, lead nowhere."""
        if self._has_alias(alias):
            self._call("drop_alias", alias)

    def _has_alias(self, alias: str) -> bool:
        return bool(self._call("has_collection", alias))

    def search(
        self,
        collection: str,
        queries: Vectors,
        limit: int,
        *,
        where: str,
        parameters: dict[str, int],
        strong: bool,
    ) -> Proposed:
        """The `limit` rows with the highest inner products with each query (m, w), of those that meet a condition.

        parameters: `ef` or `nprobe`. strong: whether inserts of the last seconds are seen for certain.
        """
        answer = self._read(
            "search",
            collection,
            data=list(queries),
            anns_field=VECTOR,
            limit=limit,
            filter=where,
            output_fields=[VECTOR],
            search_params={"metric_type": "IP", "params": parameters},
            consistency_level="Strong" if strong else "Bounded",
        )
        widest = max((len(hits) for hits in answer), default=0)
        positions = np.full((len(queries), widest), PADDING)
        similarity = np.full((len(queries), widest), -np.inf, np.float32)
        rows: list[int] = []
        vectors: list[Sequence[float]] = []
        for query, hits in enumerate(answer):
            positions[query, : len(hits)] = len(rows) + np.arange(len(hits))
            similarity[query, : len(hits)] = hits.distances
            rows += hits.ids
            vectors += [hit["entity"][VECTOR] for hit in hits]
        return Proposed(np.array(rows, np.int64), _matrix(vectors, queries.shape[1]), positions, similarity)

    def vectors(self, collection: str, rows: RowIds, width: int, *, strong: bool) -> Vectors:
        """The vectors of rows (n,), all of them in the collection, in their order: (n, w) float32."""
        parts = [np.empty((0, width), np.float32)]
        step = max(1, min(_MOST_ROWS, MOST_BYTES // (4 * width + 16)))
        wanted, order = np.unique(rows, return_inverse=True)
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            level = "Strong" if strong else "Bounded"
            answer = self._read(
                "get", collection, ids=part.tolist(), output_fields=[ROW, VECTOR], consistency_level=level
            )
            held = np.array([one[ROW] for one in answer], np.int64)
            places = np.argsort(held)
            if not np.array_equal(held[places], part):
                raise IndexLost(f"Milvus has {len(held)} of {len(part)} rows of the collection {collection!r}.")
            parts.append(_matrix([one[VECTOR] for one in answer], width)[places])
        ordered: Vectors = np.concatenate(parts)[order]
        return ordered

    def _read(self, method: str, collection: str, **more: Any) -> Any:
        """Asks a collection, which is loaded first where somebody has released it, or Milvus itself when it started."""
        for _ in range(_LOADS):
            try:
                return self._call(method, collection, **more)
            except _Released:
                with suppress(_Released):  # while it is loaded by another, or released once more
                    self._call("load_collection", collection)
        raise IndexEngineRefuses(f"Milvus at {self.host} releases the collection {collection!r} again and again.")

    def _call(self, method: str, *arguments: Any, seconds: float | None = None, **more: Any) -> Any:
        leave_event_loop()
        from grpc import FutureTimeoutError, RpcError
        from pymilvus.exceptions import MilvusException

        try:
            client = self._connected()
            return getattr(client, method)(*arguments, timeout=seconds or self._address.seconds, **more)
        except (MilvusException, RpcError, FutureTimeoutError) as error:
            raise self._told(method, arguments, error) from error

    def _told(self, method: str, arguments: tuple[Any, ...], error: Exception) -> Unavailable | _Released:
        text = f"{error} {error.__cause__ or ''}"  # of a connection that cannot be made, pymilvus says why only there
        code, where = getattr(error, "code", None), f"Milvus at {self.host} (CROSSWALK_MILVUS_URI)"
        log.warning("Milvus does not do as it is asked", call=method, error=text[:500])
        if any(words in text for words in _UNAUTHENTICATED):
            return IndexEngineAway(f"{where} refuses the token: CROSSWALK_MILVUS_TOKEN is wrong.")
        if code == _COLLECTION_NOT_FOUND or "collection not found" in text:
            return IndexLost(f"{where} has no collection {arguments[0]!r}; its index is made anew.")
        if code == _COLLECTION_NOT_LOADED:
            return _Released(arguments[0])
        if isinstance(code, int) and code != _CONNECT_FAILED and _NOT_READY not in text:
            return IndexEngineRefuses(f"{where} answers with an error to {method!r}; the log has what it says.")
        return IndexEngineAway(f"{where} does not answer. This is tried again with the next request.")

    def _connected(self) -> Any:
        if self._client is None:
            with self._connecting:
                if self._client is None:
                    from pymilvus import MilvusClient

                    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it is told here, and once
                    token = self._address.token.get_secret_value() if self._address.token else ""
                    self._client = MilvusClient(
                        self._address.uri, token=token, timeout=self._address.seconds, grpc_options=_CHANNEL
                    )
        return self._client


def _matrix(vectors: Sequence[Sequence[float]], width: int) -> Vectors:
    return np.array(vectors, np.float32).reshape(len(vectors), width)
