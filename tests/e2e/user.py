"""A user of the service, who knows its HTTP interface and nothing else."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.waiting import wait_until
from tests.worlds import NEW, NEWEST, SIDE, Floats, Items, World, world

SETTLED = frozenset({"ready", "active", "rolled_back", "rejected", "evaluated", "failed", "cancelled"})

_numbers = itertools.count()


def checked(answer: httpx.Response, status: int | None = None) -> Any:
    """What an answer says; fails where it is a problem, or another status than expected."""
    assert answer.is_success if status is None else answer.status_code == status, f"{answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def npz(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    arrays: Any = {name: np.asarray(values) for name, values in columns.items()}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(vectors: Floats) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vectors)
    return buffer.getvalue()


def table(items: Items, vectors: Floats, *, side: bool = False) -> pa.Table:
    columns = {"id": pa.array(items.id), "label": pa.array(items.label), "embedding": _lists(vectors)}
    return pa.table(columns | ({"side_information": _lists(items.side)} if side else {}))


def parquet(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(rows, buffer)
    return buffer.getvalue()


def arrow(rows: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, rows.schema) as writer:
        writer.write_table(rows)
    return buffer.getvalue()


def _lists(vectors: Floats) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


PARQUET = "application/vnd.apache.parquet"
ARROW = "application/vnd.apache.arrow.stream"
NPZ = "application/x-npz"
NPY = "application/x-npy"


@dataclass(frozen=True)
class Answer:
    """What a search found. ids: a list for each query, nearest first."""

    route: str
    generation: int
    exact: bool
    ids: list[list[str]]
    scores: list[list[float]]

    @classmethod
    def of(cls, body: dict[str, Any]) -> Answer:
        hits = body["results"]
        return cls(
            body["route"],
            body["generation"],
            body["exact"],
            [[hit["id"] for hit in hits_of_query] for hits_of_query in hits],
            [[hit["score"] for hit in hits_of_query] for hits_of_query in hits],
        )


class Scene:
    """One test's own corner of a service: models `old`, `new`, `newest` and `dull`, a gallery, a dataset."""

    def __init__(self, client: httpx.Client, seen: World | None = None, *, side: bool = False) -> None:
        self.client = client
        self.world = seen or world()
        name = f"t{next(_numbers)}"
        self.gallery, self.dataset = f"{name}-gallery", f"{name}-pairs"
        self.old, self.new, self.newest, self.dull = (f"{name}-{model}" for model in ("old", "new", "newest", "dull"))
        dimensions = {self.old: self.world.gallery.old.shape[1], self.new: NEW, self.newest: NEWEST, self.dull: NEW}
        for model, dimension in dimensions.items():
            self.post("/models", {"id": model, "dimension": dimension, "metric": "cosine"}, 201)
        more = {"side_information": {"dimension": SIDE}} if side else {}
        self.post("/galleries", {"id": self.gallery, "model": self.old, **more}, 201)
        self.post("/datasets", {"id": self.dataset}, 201)
        self.side = side

    def filled(self, pairs: Items | None = None) -> Scene:
        """The world's gallery in old vectors, and pairs to learn from."""
        self.put(self.world.gallery)
        self.put_pairs(pairs or self.world.pairs(200))
        return self

    def get(self, url: str, **query: Any) -> Any:
        return checked(self.client.get(url, params=query))

    def post(self, url: str, body: object = None, status: int | None = None) -> Any:
        return checked(self.client.post(url, json=body), status)

    def listed(self, url: str) -> list[str]:
        """The ids on all pages of a list, two to a page."""
        ids: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.get(url, limit=2, **({"cursor": cursor} if cursor else {}))
            assert len(page["items"]) <= 2
            ids += [one["id"] for one in page["items"]]
            cursor = page["next_cursor"]
        return ids

    def put(self, items: Items, model: str | None = None) -> Any:
        """Puts items in vectors of a model, the old one unless another is named."""
        rows = table(items, self.seen_by(items, model or self.old), side=self.side)
        return self.put_body(parquet(rows), PARQUET, model)

    def put_body(self, body: bytes, media_type: str, model: str | None = None, status: int | None = None) -> Any:
        headers = {"content-type": media_type}
        url, query = f"/galleries/{self.gallery}/items", {"model": model or self.old}
        return checked(self.client.put(url, params=query, content=body, headers=headers), status)

    def put_pairs(self, items: Items, *models: str) -> Any:
        """Puts dataset rows with vectors of models, the new one unless others are named."""
        vectors = {f"embedding.{model}": self.seen_by(items, model) for model in models or (self.new,)}
        body = npz(id=items.id, label=items.label, **vectors)
        url, headers = f"/datasets/{self.dataset}/rows", {"content-type": NPZ}
        return checked(self.client.put(url, content=body, headers=headers))

    def delete(self, ids: Sequence[str]) -> int:
        return int(self.post(f"/galleries/{self.gallery}/items/delete", {"ids": list(ids)})["deleted"])

    def item(self, name: str) -> dict[str, Any]:
        return dict(self.get(f"/galleries/{self.gallery}/items/{name}"))

    def seen_by(self, items: Items, model: str) -> Floats:
        vectors: Floats = getattr(items, model.rpartition("-")[2])
        return vectors

    def search(self, vectors: Floats, model: str, k: int = 10, **more: str) -> Answer:
        query: dict[str, str | int] = {"gallery": self.gallery, "model": model, "k": k, **more}
        headers = {"content-type": NPY}
        return Answer.of(checked(self.client.post("/search", params=query, content=npy(vectors), headers=headers)))

    def ask(self, model: str, k: int = 10, **more: str) -> Answer:
        """Searches with the world's queries as a model sees them."""
        return self.search(self.seen_by(self.world.queries, model), model, k, **more)

    def right(self, answer: Answer) -> float:
        """The share of the world's queries whose first answer is of their class."""
        known = dict(zip(self.world.gallery.id, self.world.gallery.label, strict=True))
        return float(
            np.mean([known[f[0]] == label for f, label in zip(answer.ids, self.world.queries.label, strict=True)])
        )

    def sample(self, n: int) -> dict[str, Any]:
        """The items to embed first, asked for again for as long as the service answers that it still chooses."""
        url = f"/galleries/{self.gallery}/sample"
        return dict(wait_until(lambda: self.get(url, n=n), f"a sample of {self.gallery}"))

    def start(self, *, source: str | None = None, **more: Any) -> str:
        """Starts an upgrade from the old model to the new one by ridge, unless told otherwise; its id."""
        body = {"to": self.new, "method": "ridge", "dataset": self.dataset, "galleries": [self.gallery], **more}
        return str(self.post(f"/models/{source or self.old}/upgrade", body, 202)["id"])

    def upgrade(self, upgrade: str) -> dict[str, Any]:
        return dict(self.get(f"/upgrades/{upgrade}"))

    def reaches(self, upgrade: str, *states: str) -> dict[str, Any]:
        """The upgrade once it is in one of the states; fails where it settles in another."""
        seen: list[dict[str, Any]] = []

        def arrived() -> bool:
            seen[:] = [self.upgrade(upgrade)]
            return seen[0]["state"] in SETTLED | set(states)

        wait_until(arrived, f"upgrade {upgrade} to be {states}", last=lambda: seen)
        assert seen[0]["state"] in states, f"{seen[0]['state']}: {seen[0]['reason']}"
        return seen[0]

    def settles(self, upgrade: str) -> dict[str, Any]:
        return self.reaches(upgrade, *SETTLED)

    def generations(self) -> dict[int, dict[str, Any]]:
        return {one["number"]: one for one in self.get(f"/galleries/{self.gallery}/generations")["items"]}

    def active(self) -> int:
        return int(self.get(f"/galleries/{self.gallery}")["active_generation"])


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem that an answer is; fails where it is another."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    body = dict(json.loads(answer.content))
    assert body["type"] == f"/problems/{slug}"
    return body


def digests(data: Path, gallery: str) -> dict[str, str]:
    """The digest of every file of a gallery, by its path; data: the folder of the service's data."""
    (folder,) = (data / "galleries").glob(f"{gallery}-*")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cosine_ranking(ids: Collection[str], vectors: Floats, queries: Floats, k: int) -> list[list[str]]:
    """The k nearest ids of each query by cosine, in float64."""
    names = np.array(list(ids), object)
    rows, units = (
        values.astype(np.float64) / np.linalg.norm(values, axis=1, keepdims=True) for values in (vectors, queries)
    )
    nearest = np.argsort(-(units @ rows.T), axis=1, kind="stable")[:, :k]
    return [list(map(str, names[places])) for places in nearest]
