"""The user of the service whose gallery lies in a store of their own, as a client over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np

from app.artifacts.folder import UpgradeArtifacts
from app.composition import compose
from app.settings import Settings
from app.stores.protocol import Target
from app.upgrades.states import UpgradeState
from models.portable import Space, save_transformation, save_uncertainty
from tests.app.crossings import affine, uncertainty
from tests.e2e.every_store import StoreUser, Vectors
from tests.e2e.user import SETTLED, checked
from tests.embedding_server import EmbeddingServer
from tests.upgrade_rows import FORWARD_REQUEST, store_upgrade
from tests.waiting import wait_until
from tests.worlds import NEW, Floats

CHANGES = 9
GALLERY, UPGRADE = "theirs", "upg"


def real(user: StoreUser) -> dict[str, Floats]:
    """What the new model makes of each text."""
    gallery = user.world.gallery
    return {f"text of {id}": vector for id, vector in zip(gallery.id, gallery.new, strict=True)}


class Owner:
    """embedder: what `reader` leads to, a connection that the service of these settings has been told of."""

    def __init__(self, user: StoreUser, client: httpx.Client, settings: Settings, embedder: EmbeddingServer) -> None:
        self.user, self.client, self.settings, self.embedder = user, client, settings, embedder
        old, new = Space("old", user.place.dimension, "cosine"), Space("new", NEW, "cosine")
        self.crossing = affine(old, new)

    def get(self, url: str, **query: Any) -> Any:
        return checked(self.client.get(url, params=query))

    def post(self, url: str, body: object = None, status: int | None = None) -> Any:
        return checked(self.client.post(url, json=body), status)

    def register_models(self) -> None:
        card = self.crossing.card
        for space, more in ((card.source, {}), (card.target, {"embedder": {"connection": "reader"}})):
            self.post("/models", {"id": space.model, "dimension": space.dimension, "metric": "cosine", **more}, 201)

    def register(self, **more: Any) -> None:
        """more: fields of the request's `store`."""
        body = {"id": GALLERY, "model": "old", "store": self.user.registration() | more}
        self.post("/galleries", body, 201)
        self.post("/galleries", body, 200)

    def has_a_crossing_accepted(self) -> None:
        """As if it had been learned from pairs, and proved: what is left of the upgrade begins."""
        crosswalk = compose(self.settings)
        files = UpgradeArtifacts(self.settings.artifacts_dir, UPGRADE)
        for folder in (files.chosen, files.plain):
            save_transformation(self.crossing, folder)
        save_uncertainty(uncertainty(self.crossing), files.uncertainty)
        request = {**FORWARD_REQUEST, "activate": "manually"}
        store_upgrade(crosswalk.database, UPGRADE, UpgradeState.TRANSFORMING, [GALLERY], request=request)
        with crosswalk.database.session() as session:
            crosswalk.jobs.enqueue(session, "transform", UPGRADE)
        crosswalk.close()

    def waits_until_it_is_ready(self, changes: int = CHANGES) -> None:
        """The application goes on meanwhile, until it has made so many changes: where a comparison takes longer than
        the time between two of them, there are 20 of each pass."""
        now: dict[str, Any] = {}

        def settled() -> bool:
            if self.user.done < changes:
                self.user.goes_on()
            now.update(self.get(f"/upgrades/{UPGRADE}"))
            return now["state"] in SETTLED and self.user.done >= min(3, changes)

        wait_until(settled, "the upgrade to settle", last=lambda: now)
        assert now["state"] == "ready", now["reason"]

    def does(self, action: str) -> dict[str, Any]:
        return dict(self.post(f"/upgrades/{UPGRADE}/{action}"))

    def follows(self) -> None:
        checked(self.client.post(f"/galleries/{GALLERY}/follow"), 202)

    @property
    def made(self) -> dict[str, Any]:
        """The generation that the upgrade made."""
        (_, made) = self.get(f"/galleries/{GALLERY}/generations")["items"]
        return dict(made)

    @property
    def target(self) -> Target:
        return Target(self.made["in_store"]["target"], NEW, "cosine")

    def h(self, old: Vectors) -> Vectors:
        """Old vectors transformed."""
        rows = self.crossing.apply(np.stack(list(old.values())))
        return dict(zip(old, rows, strict=True))

    def backfilled(self, **body: Any) -> dict[str, Any]:
        """A backfill that is run, as it ends."""
        return self.ends_backfill(self.starts_backfill(**body))

    def starts_backfill(self, **body: Any) -> str:
        """Its id."""
        return str(self.post(f"/galleries/{GALLERY}/backfill", body, 202)["id"])

    def ends_backfill(self, run: str) -> dict[str, Any]:
        """What is told of it once it is done."""
        now: dict[str, Any] = {}

        def ended() -> bool:
            now.update(self.get(f"/galleries/{GALLERY}/backfills/{run}"))
            return now["state"] not in ("queued", "running")

        wait_until(ended, "the backfill to end", last=lambda: now)
        assert now["state"] == "done", now["reason"]
        return now
