"""What the guard of spaces costs an upsert of 20,000 × 384 vectors, and a query.

python -m benchmarks.space_guard_cost
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.composition import compose
from app.galleries.schemas import NewGallery
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.migrate import migrate
from app.uploads import UploadedRows
from benchmarks.space_data import Array


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        parts = compose(Settings(data_dir=Path(folder)))
        migrate(parts.database)
        parts.models.create(NewModel(id="m", dimension=384, metric="cosine"))
        parts.galleries.create(NewGallery(id="g", model="m"))
        info, shape = parts.galleries.info("g"), rng.standard_normal((384, 384)) * np.geomspace(1, 0.01, 384)
        inspecting, putting = [], []
        for turn in range(7):
            vectors = (rng.standard_normal((20_000, 384)) @ shape).astype(np.float32)
            rows = _uploaded(Path(folder) / "rows.arrow", vectors, turn)
            begun = time.perf_counter()
            inspected = parts.spaces.inspect(rows, {"m": "embedding"}, "checked", trusted=True)
            inspecting.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            parts.items.put(info, "m", rows)
            putting.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            parts.spaces.learn(inspected)
            print(
                f"upsert {turn}: judged {inspecting[-1]:.3f} s, written {putting[-1]:.3f} s, learned in the background "
                f"{time.perf_counter() - begun:.3f} s"
            )
        ratio = 1 + np.median(inspecting[1:]) / np.median(putting[1:])
        query = vectors[:1]
        begun = time.perf_counter()
        for _ in range(63):  # the 64th is judged in a thread
            parts.streams.saw(("queries", "g", "m"), query)
        each = (time.perf_counter() - begun) / 63
        print(f"with the guard an upsert takes {ratio:.3f} times as long; a query {each * 1e6:.1f} µs more")
        parts.close()


def _uploaded(path: Path, vectors: Array, turn: int) -> UploadedRows:
    ids = pa.array([f"{turn}-{row}" for row in range(len(vectors))])
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    schema = pa.schema(
        [pa.field("id", pa.string(), nullable=False), pa.field("embedding", column.type, nullable=False)]
    )
    table = pa.Table.from_arrays([ids, column], schema=schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(table, max_chunksize=4_096)
    return UploadedRows.at(path, len(vectors))


if __name__ == "__main__":
    main()
