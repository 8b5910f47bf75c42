"""Bodies of every media type, and how they are decoded: what the fuzzing of decoders begins from."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from app.problems import Problem
from app.uploads import Expected, UploadLimits, media_types
from app.uploads.decoding import decode
from app.uploads.queries import vectors_of_npy

_DIMENSION = 3
_LIMITS = UploadLimits(rows=1_000, body_bytes=2**20, json_bytes=2**20, decoded_bytes=2**24)
_ROWS = [{"id": "a", "embedding": [1, 0, 0], "label": "x", "payload": {"n": 1}}, {"id": "b", "embedding": [0, 1, 0]}]


def _table() -> pa.Table:
    vectors = pa.array([[1, 0, 0], [0, 1, 0]], pa.list_(pa.float32(), _DIMENSION))
    labels = pa.array(["x", None]).dictionary_encode()
    return pa.table({"id": ["a", "b"], "embedding": vectors, "label": labels, "payload": ['{"n": 1}', None]})


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def _stream(out: io.BytesIO) -> None:
    table = _table()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)


SOUND: dict[str, bytes] = {
    media_types.JSON: json.dumps(_ROWS).encode(),
    media_types.NDJSON: "\n".join(map(json.dumps, _ROWS)).encode(),
    media_types.PARQUET: _written(lambda out: pq.write_table(_table(), out)),
    media_types.ARROW: _written(_stream),
    media_types.ARROW_FILE: _written(lambda out: feather.write_feather(_table(), out, compression="uncompressed")),
    media_types.NPZ: _written(lambda out: np.savez(out, id=np.array(["a", "b"]), embedding=np.eye(2, _DIMENSION))),
    media_types.NPY: _written(lambda out: np.save(out, np.eye(2, _DIMENSION, dtype=np.float32))),
}
"""One body of each media type that is taken."""


def decoded(media_type: str, body: bytes, folder: Path) -> None:
    """Decodes a body as the gateway does; what is wrong with it is a problem, and passed over."""
    (folder / "body").write_bytes(body)
    try:
        if media_type == media_types.NPY:
            vectors_of_npy(body, _DIMENSION, _LIMITS.rows)
        else:
            decode(folder / "body", media_type, Expected.items(_DIMENSION, None), _LIMITS, folder / "rows")
    except Problem:
        pass
