"""Three versions of a model in one dataset, crossed by upgrades whose steps the test does itself."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import numpy as np

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.upgrades.states import Event
from models.portable import Affine, Card, Transformation, save_transformation
from tests.e2e.user import Scene, checked, npz
from tests.worlds import Items, World, world

_numbers = itertools.count()
_ITEMS = 8  # enough pairs for an upgrade to be asked for
_NPZ = {"content-type": "application/x-npz"}


class Versions(Scene):
    """A gallery in old vectors, and a dataset whose rows, the world's queries, have those of several models.

    The world's classes are easy enough for the old model to be right now and then, and for the newer ones to be better.
    """

    def __init__(self, client: httpx.Client, crosswalk: Crosswalk, seen: World | None = None, **more: Any) -> None:
        super().__init__(client, seen or world(items=240, queries=120, classes=6), **more)
        self.crosswalk = crosswalk

    def with_rows(self, *models: str, side: bool = False) -> Versions:
        """The dataset's rows are the world's queries."""
        items = self.world.queries
        vectors = {f"embedding.{model}": self.seen_by(items, model) for model in models}
        more = {"side_information": items.side} if side else {}
        body = npz(id=items.id, label=items.label, **vectors, **more)
        answer = self.client.put(
            f"/datasets/{self.dataset}/rows", content=body, headers={"content-type": "application/x-npz"}
        )
        assert answer.is_success, answer.text
        return self

    def put_payload(self, items: Items, **fields: list[Any]) -> None:
        """Items with a payload of these fields."""
        rows = [
            {
                "id": one,
                "label": items.label[place],
                "embedding": items.old[place].tolist(),
                "payload": {name: values[place] for name, values in fields.items()},
            }
            for place, one in enumerate(items.id)
        ]
        self.put_body(json.dumps({"items": rows}).encode(), "application/json")

    def h(self, source: str, target: str, *, side: bool = False) -> Transformation:
        """Ridge between two models, fitted on the world's gallery."""
        items = self.world.gallery
        old = self.seen_by(items, source)
        units = old / np.linalg.norm(old, axis=1, keepdims=True)
        new = self.seen_by(items, target)
        new = new / np.linalg.norm(new, axis=1, keepdims=True)
        rows = np.column_stack([units, items.side, np.ones(len(items))] if side else [units, np.ones(len(items))])
        weights = np.linalg.solve(rows.T @ rows + 1e-3 * np.eye(rows.shape[1]), rows.T @ new).T.astype(np.float32)
        width = units.shape[1]
        beside = np.ascontiguousarray(weights[:, width:-1]) if side else None
        spaces = (self.crosswalk.models.space(source), self.crosswalk.models.space(target))
        card = Card("ridge", *spaces, items.side.shape[1] if side else None, len(items), {}, {}, "2026-01-01T00:00:00Z")
        return Transformation(
            card, Affine(np.ascontiguousarray(weights[:, :width]), np.ascontiguousarray(weights[:, -1]), beside)
        )

    def learning(self, source: str, target: str) -> str:
        """An upgrade that has not learned anything yet; its id. It works on a gallery of its own."""
        gallery = f"{self.gallery}-{next(_numbers)}"
        self.post("/galleries", {"id": gallery, "model": source}, 201)
        items = self.world.queries
        body = npz(id=items.id[:_ITEMS], embedding=self.seen_by(items, source)[:_ITEMS])
        checked(self.client.put(f"/galleries/{gallery}/items?model={source}", content=body, headers=_NPZ))
        gate = {"metric": "recall@10", "require": {"at_least": 0}}  # which asks for no labels
        return self.start(source=source, to=target, galleries=[gallery], gate=gate)

    def crossed(
        self, source: str, target: str, *, accepted: bool = True, side: bool = False, h: Transformation | None = None
    ) -> str:
        """An upgrade that has learned a crossing, and was accepted or rejected; its id."""
        upgrade = self.learning(source, target)
        steps = self.crosswalk.upgrade_steps
        steps.begin(upgrade)
        artifacts = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, upgrade)
        save_transformation(h or self.h(source, target, side=side), artifacts.chosen)
        save_transformation(h or self.h(source, target), artifacts.plain)
        with self.crosswalk.database.session() as session:
            steps.advance(session, upgrade, Event.TRAINED, learned={})
            if accepted:
                for event in (Event.ACCEPTED, Event.TRANSFORMED, Event.INDEXED):
                    steps.advance(session, upgrade, event)
            else:
                steps.advance(session, upgrade, Event.REJECTED, reason="it is worse")
        return upgrade

    def evaluate(self, **more: Any) -> str:
        """Starts an evaluation of the dataset; its id."""
        return str(self.post("/evaluations", {"dataset": self.dataset, **more}, 202)["id"])

    def evaluation(self, evaluation: str) -> dict[str, Any]:
        return dict(self.get(f"/evaluations/{evaluation}"))
