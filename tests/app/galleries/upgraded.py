"""A gateway without a worker whose gallery was upgraded: what the steps do is done by the test in their place.

Everything that the steps leave is real: an artifact, a generation's vectors, proofs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.galleries import generations
from app.index import publish
from app.upgrades.states import Event
from models.portable import Transformation, Uncertainty, save_transformation, save_uncertainty
from tests.app.crossings import affine, uncertainty
from tests.worlds import Floats

ITEMS, OLD, NEW = 40, 3, 4


def curve(low: float, high: float) -> dict[str, Any]:
    """Straight from one quality to another, give or take 0.1."""
    points = [
        {"share": share, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        if (mean := low + share * (high - low)) is not None
    ]
    return {"points": points, "mean": (low + high) / 2}


PREDICTED = {"metric": "cmc@1", "curves": {"uncertainty": curve(0.5, 0.9), "random": curve(0.5, 0.7)}}


@dataclass
class Upgraded:
    """Models `old` and `new`, and the gallery `shop` of `old`, which `upgrade` makes a generation of `new` of.

    ids, label, old (n, 3), new (n, 4) float32: its items.
    """

    client: httpx.Client
    crosswalk: Crosswalk
    ids: list[str] = field(init=False)
    label: list[str | None] = field(init=False)
    old: Floats = field(init=False)
    new: Floats = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.ids = [f"item-{number:02d}" for number in range(ITEMS)]
        self.label = [None if number % 8 == 0 else f"class-{number % 3}" for number in range(ITEMS)]
        self.old = rng.normal(size=(ITEMS, OLD)).astype(np.float32)
        self.new = rng.normal(size=(ITEMS, NEW)).astype(np.float32)
        for model, dimension in (("old", OLD), ("new", NEW)):
            self.post("/models", {"id": model, "dimension": dimension, "metric": "l2"}, 201)
        self.post("/galleries", {"id": "shop", "model": "old"}, 201)
        self.post("/datasets", {"id": "pairs"}, 201)
        rows = [{"id": one, "embedding.new": v.tolist()} for one, v in zip(self.ids[:8], self.new, strict=False)]
        assert self.client.put("/datasets/pairs/rows", json={"rows": rows}).is_success
        self.put("old", range(ITEMS))

    def post(self, url: str, body: object = None, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(url, json=body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def put_answer(self, model: str, places: range) -> httpx.Response:
        vectors = self.old if model == "old" else self.new
        items = [
            {"id": self.ids[place], "embedding": vectors[place].tolist(), "label": self.label[place]}
            for place in places
        ]
        return self.client.put("/galleries/shop/items", params={"model": model}, json={"items": items})

    def put(self, model: str, places: range) -> None:
        answer = self.put_answer(model, places)
        assert answer.status_code == 200, answer.text

    def change(self, places: range) -> None:
        """Items that are others now, as the old model sees them."""
        self.old[places.start : places.stop] += 0.25
        self.put("old", places)

    @property
    def h(self) -> Transformation:
        return affine(self.crosswalk.models.space("old"), self.crosswalk.models.space("new"))

    @property
    def plain(self) -> Transformation:
        return self.h

    @property
    def uncertainty(self) -> Uncertainty:
        return uncertainty(self.h)

    def upgrade(self, backfill: dict[str, Any] | None = PREDICTED, *, uncertain: bool = True) -> str:
        """An upgrade that is ready and switched to; its id. `uncertain`: it knows how far its crossing misses."""
        body = {"to": "new", "dataset": "pairs", "galleries": ["shop"], "method": "ridge"}
        upgrade = str(self.post("/models/old/upgrade", body, 202)["id"])
        steps, galleries = self.crosswalk.upgrade_steps, self.crosswalk.galleries
        steps.begin(upgrade)
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, upgrade)
        save_transformation(self.h, artifacts.chosen)
        save_transformation(self.plain, artifacts.plain)
        if uncertain:
            save_uncertainty(self.uncertainty, artifacts.uncertainty)
        proofs: dict[str, Any] = {"shop": {"advice": []} | ({} if backfill is None else {"backfill": backfill})}
        space = self.crosswalk.models.space("new")
        with self.crosswalk.database.session() as session:
            number = generations.build(session, "shop", space, upgrade)
            steps.advance(session, upgrade, Event.TRAINED, learned={})
            steps.advance(session, upgrade, Event.ACCEPTED, proofs=proofs)
            steps.advance(session, upgrade, Event.TRANSFORMED)
        info = galleries.info("shop")
        store = galleries.store(info)
        version = store.items.version
        generation = store.generation(number, NEW)
        generation.commit(
            generation.write_fragment(iter(store.project(galleries.lineage(info, number, uncertainty=True))))
        )
        index = publish(
            store.index_folder(number),
            ((part.rows, part.vectors) for part in generation.scan()),
            metric="l2",
            dimension=NEW,
            version=version,
            options=galleries.index_options(info),
        )
        with self.crosswalk.database.session() as session:
            steps.finish(session, upgrade, {"shop": (number, version, index.name)})
        return upgrade

    def backfill(self, **query: Any) -> dict[str, Any]:
        answer = self.client.get("/galleries/shop/backfill", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def generation(self, number: int) -> dict[str, Any]:
        return dict(self.client.get("/galleries/shop/generations").json()["items"][number - 1])

    def route(self) -> str:
        body = {"gallery": "shop", "model": "new", "vectors": self.new[:1].tolist()}
        return str(self.post("/search", body)["route"])
