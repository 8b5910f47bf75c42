"""Has another process make an index file of the vectors that a target holds."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Literal

import numpy as np
import pyarrow as pa

from app.stores.batches import vectors_of
from app.stores.faiss_building import IndexOrder
from app.stores.faiss_file.index_file import IndexAbout, scrubbed_environment
from app.stores.files.target import ParquetTarget
from app.stores.protocol import StoreAway, Target

_READ_ROWS = 2**14


def ids_written(vectors: ParquetTarget) -> pa.StringArray:
    """In the order in which an index is built of them."""
    held = [batch.column("id") for batch in vectors.written(_READ_ROWS, vectors=False)]
    return pa.chunked_array(held, pa.string()).combine_chunks()


def build_file(
    path: str, descriptor: int, target: Target, vectors: ParquetTarget, old: IndexAbout, *, ids_beside: bool
) -> None:
    """Writes the index to a descriptor; path: for errors. Raises StoreAway where it cannot be built."""
    ids: Literal["own", "beside", "numbers"] = "beside" if ids_beside else "own" if old.own_ids else "numbers"
    count = sum(batch.num_rows for batch in vectors.written(_READ_ROWS, vectors=False))
    order = IndexOrder(count, target.dimension, target.metric, old.type, old.built, ids)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "app.stores.faiss_building", str(descriptor)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=scrubbed_environment(),
        pass_fds=(descriptor,),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            with suppress(BrokenPipeError), process.stdin as sent:  # why it ended is read
                sent.write(json.dumps(asdict(order)).encode() + b"\n")
                for batch in vectors.written(_READ_ROWS, vectors=True):
                    rows, _ = vectors_of(batch)
                    texts = batch.column("id")
                    numbers = np.zeros(len(texts), np.int64) if ids_beside else texts.cast(pa.int64()).to_numpy()
                    sent.write(len(texts).to_bytes(8, "little"))
                    sent.write(numbers.tobytes())
                    sent.write(rows.tobytes())
            told = process.stderr.read().decode(errors="replace").strip().splitlines()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise StoreAway(f"{path!r} could not be built: {(told or ['its process was killed'])[-1][:200]}")
