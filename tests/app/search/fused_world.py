"""A gallery that queries of two models search together, and the fused scores of its items straight from the formula."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from fastapi import FastAPI
from sqlalchemy import update

from app.artifacts.cascade import Cascade
from app.artifacts.crossings import Crossing
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import generations
from app.galleries.lineage import SIDE_INFORMATION
from app.galleries.schemas import NewGallery, SideInformation
from app.galleries.tables import GenerationRow
from app.index import publish
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import utc_now
from app.storage.lance_table import vector_type
from app.upgrades.request import FUSED
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow
from models.arrays import Floats
from models.portable import (
    Affine,
    Alphas,
    Array,
    Card,
    Distance,
    Fusion,
    Moments,
    Space,
    Transformation,
    save_fusion,
    save_transformation,
)
from tests.app.crossings import network_crossing
from tests.serving import serving
from tests.similarity import similarity
from tests.upgrade_rows import store_upgrade

OLD, NEW, SIDE = 6, 8, 3
ALPHAS = Alphas(pushed=0.4, exact=0.6)
UPGRADE = "u"


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pushable(source: Space, target: Space) -> Crossing:
    """Pushed exactly under every metric: orthogonal columns, and no intercept under cosine."""
    weight = np.float32(1.5) * np.linalg.qr(normal(1, NEW, OLD).astype(np.float64))[0].astype(np.float32)
    bias = np.zeros(NEW, np.float32) if target.metric == "cosine" else normal(2, NEW)
    h = Transformation(Card("test", source, target, None, 9, {}, {}, "2026-01-01T00:00:00Z"), Affine(weight, bias))
    return Crossing(h, h)


@dataclass
class FusedWorld:
    """Models `old` and `new`, a gallery `g` of old vectors, and an upgrade that learned a crossing and a fusion.

    old (n, 6), side (n, 3), native (n, 8) with NaN where an item has no new vector: its items now, by id.
    """

    client: httpx.Client
    crosswalk: Crosswalk
    source: Distance
    target: Distance
    items: int
    exactly: bool
    old: dict[str, Array] = field(default_factory=dict)
    side: dict[str, Array] = field(default_factory=dict)
    native: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spaces = Space("old", OLD, self.source), Space("new", NEW, self.target)
        for space in spaces:
            self.crosswalk.models.create(NewModel(id=space.model, dimension=space.dimension, metric=space.metric))
        side = SideInformation(dimension=SIDE)
        self.crosswalk.galleries.create(NewGallery(id="g", model="old", side_information=side))
        self.crossing = pushable(*spaces) if self.exactly else network_crossing(*spaces, SIDE)
        vectors, sides = normal(3, self.items, OLD) + np.float32(0.5), normal(4, self.items, SIDE)
        self.put("old", {f"i{row}": vector for row, vector in enumerate(vectors)}, dict(enumerate(sides)))
        self.at_first = self.pairs(list(self.old))
        self.artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, UPGRADE)
        save_transformation(self.crossing.chosen, self.artifacts.chosen)
        save_transformation(self.crossing.plain, self.artifacts.plain)
        moments = Moments.of(self.at_first[0], self.source), Moments.of(self.at_first[1], self.target)
        self.save_fusion(Fusion(self.crossing.plain.card, *moments, ALPHAS))
        if not self.exactly:
            Cascade(0.99, 20, None, 0.99, (0.98, 1.0), 9, self.items).save(self.artifacts)
        store_upgrade(self.crosswalk.database, UPGRADE, UpgradeState.READY, ["g"])
        self.q_old, self.q_new = normal(5, 7, OLD), normal(6, 7, NEW)

    def save_fusion(self, fusion: Fusion) -> None:
        folder = self.artifacts.fusion("g")
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_fusion(fusion, folder)

    def put(self, model: str, vectors: dict[str, Array], side: dict[int, Array] | None = None) -> None:
        """Writes items with vectors of a model; of the old one, with side-information."""
        kinds = {"id": pa.string(), "embedding": vector_type(OLD if model == "old" else NEW)}
        cells: dict[str, Any] = {"id": list(vectors), "embedding": list(vectors.values())}
        if side is not None:
            kinds[SIDE_INFORMATION], cells[SIDE_INFORMATION] = vector_type(SIDE), list(side.values())
            self.side |= dict(zip(vectors, side.values(), strict=True))
        schema = pa.schema(list(kinds.items()))
        batch = pa.RecordBatch.from_arrays([pa.array(cells[name], kinds[name]) for name in kinds], schema=schema)
        newer: tuple[str, ...] = ("new",) if model == "old" else ()
        store = self.crosswalk.galleries.store(self.crosswalk.galleries.info("g"))
        store.put(model, len(next(iter(vectors.values()))), lambda: newer, schema, lambda: iter([batch]))
        if model == "new":
            self.native |= vectors
            return
        self.old |= vectors
        for name in vectors:
            self.native.pop(name, None)

    def delete(self, *names: str) -> None:
        self.crosswalk.items.delete("g", list(names))
        for held in (self.old, self.side, self.native):
            for name in names:
                held.pop(name, None)

    def transform(self) -> None:
        """Derives a generation of the new model, and switches to it."""
        space, galleries = self.crosswalk.models.space("new"), self.crosswalk.galleries
        with self.crosswalk.database.session() as session:
            number = generations.build(session, "g", space, UPGRADE)
        info = galleries.info("g")
        store, version = galleries.store(info), galleries.store(info).items.version
        made = store.generation(number, NEW)
        made.commit(made.write_fragment(iter(store.project(galleries.lineage(info, number)))))
        index = publish(
            store.index_folder(number),
            ((part.rows, part.vectors) for part in made.scan()),
            metric=self.target,
            dimension=NEW,
            version=version,
            options=galleries.index_options(info),
        )
        with self.crosswalk.database.session() as session:
            generations.published(session, "g", number, version, index.name)
            generations.point(session, "g", number)

    def accept_only_as_fused(self, galleries: Sequence[str] = ("g",)) -> None:
        with self.crosswalk.database.session() as session:
            session.execute(update(UpgradeRow).values(served_as=FUSED, galleries=list(galleries)))

    def set_state(self, state: UpgradeState) -> None:
        with self.crosswalk.database.session() as session:
            session.execute(update(UpgradeRow).where(UpgradeRow.id == UPGRADE).values(state=state))

    def retire(self) -> None:
        """Notes that every item of the second generation has a real vector."""
        with self.crosswalk.database.session() as session:
            session.execute(update(GenerationRow).where(GenerationRow.number == 2).values(retired_at=utc_now()))

    def pairs(self, names: list[str]) -> tuple[Array, Array]:
        """Old and crossed vectors of items, (n, 6) and (n, 8)."""
        old = np.stack([self.old[name] for name in names])
        side = np.stack([self.side.get(name, np.zeros(SIDE, np.float32)) for name in names])
        has = np.array([name in self.side for name in names])
        return old, self.crossing.apply(old, side, has)

    def fused(self, *, pushed: bool = False) -> dict[str, Floats]:
        """By item, its fused score for each query, (m,)."""
        scored: dict[str, Floats] = {}
        for name in self.old | self.native:
            old, new = self.old.get(name), self.native.get(name)
            alpha = ALPHAS.pushed if pushed else ALPHAS.exact
            crossed = self.pairs([name])[1] if new is None else new[None]
            z_new = self._z(self.q_new, crossed, self.at_first[1], self.target)
            z_old = z_new if old is None else self._z(self.q_old, old[None], self.at_first[0], self.source)
            scored[name] = (1 - alpha) * z_old + alpha * z_new
        return scored

    @staticmethod
    def _z(queries: Array, vectors: Array, gallery: Array, metric: Distance) -> Floats:
        over = similarity(queries, gallery, metric)
        return np.asarray((similarity(queries, vectors, metric)[:, 0] - over.mean(axis=1)) / over.std(axis=1))

    def body(self, k: int = 5, **more: Any) -> dict[str, Any]:
        vectors = {"vectors": self.q_new.tolist(), "old_vectors": self.q_old.tolist()}
        return {"gallery": "g", "model": "new", "k": k, **vectors, **more}

    def ask(self, k: int = 5, **more: Any) -> dict[str, Any]:
        answer = self.client.post("/search", json=self.body(k, **more))
        assert answer.status_code == 200, answer.text
        assert answer.json()["route"] == "fused"
        return dict(answer.json())

    def agrees(self, k: int = 5, *, pushed: bool = False, among: set[str] | None = None, **more: Any) -> dict[str, Any]:
        """Searches, and compares with the formula; `among`: the items that a filter lets through."""
        answer, expected = self.ask(k, **more), self.fused(pushed=pushed)
        names = [name for name in expected if among is None or name in among]
        for query, hits in enumerate(answer["results"]):
            best = sorted((float(expected[name][query]) for name in names), reverse=True)[:k]
            own = [float(expected[hit["id"]][query]) for hit in hits]
            assert {hit["id"] for hit in hits} <= set(names)
            np.testing.assert_allclose([hit["score"] for hit in hits], own, atol=5e-3)
            np.testing.assert_allclose(own, best, atol=5e-3)
        return answer


@contextmanager
def fused_world(
    settings: Settings, source: Distance, target: Distance, *, items: int = 60, exactly: bool = True
) -> Iterator[FusedWorld]:
    """exactly: whether the crossing is pushed exactly; if not, it is a network that reads side-information."""
    applications: list[FastAPI] = []
    with serving(settings, more=applications.append) as client:
        yield FusedWorld(client, applications[0].state.crosswalk, source, target, items, exactly)


def archive(**arrays: Array | Floats) -> bytes:
    """An npz archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
