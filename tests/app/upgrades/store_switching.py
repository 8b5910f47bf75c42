"""A gallery in a store of the user's own whose upgrade is ready, without the steps that would lead there.

`python -m tests.app.upgrades.store_switching <upgrade>` activates one, and `… index` does the step of that name that
waits, for tests that have them killed on their way.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk, compose
from app.failpoints import arm
from app.galleries import generations
from app.galleries.info import GalleryInfo
from app.galleries.schemas import NewGallery, StoreChoice
from app.keys.access import EVERYTHING
from app.registry.schemas import NewModel
from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from models.portable import Space, save_transformation
from tests.app.crossings import affine
from tests.upgrade_rows import store_upgrade
from tests.vector_table import TABLE, VECTOR, VectorTable, connections_file
from tests.workers.stepping import do_step

OLD, NEW = 3, 4
VECTORS = np.random.default_rng(0).normal(size=(20, OLD)).astype(np.float32)


@dataclass
class StoreGallery:
    """A gallery `faq` in a store of the connection `shop`, and upgrades of it from `old` to `new`."""

    crosswalk: Crosswalk

    def register_models(self) -> None:
        for model, dimension in (("old", OLD), ("new", NEW)):
            self.crosswalk.models.create(NewModel(id=model, dimension=dimension, metric="ip"))

    def register(self, gallery: str, collection: str) -> None:
        store = StoreChoice(connection="shop", collection=collection)
        self.crosswalk.galleries.create(NewGallery(id=gallery, model="old", store=store))

    def upgrade(self, upgrade: str, galleries: Sequence[str], state: UpgradeState = UpgradeState.READY) -> None:
        """An upgrade in this state, with a crossing of its own and its vectors in the table, whichever state it is."""
        store_upgrade(self.crosswalk.database, upgrade, state, galleries)
        crossing = affine(Space("old", OLD, "ip"), Space("new", NEW, "ip"), seed=len(upgrade))
        files = UpgradeArtifacts(self.crosswalk.settings.artifacts_dir, upgrade)
        for folder in (files.chosen, files.plain):
            save_transformation(crossing, folder)
        for gallery in galleries:
            with self.crosswalk.database.session() as session:
                number = generations.build(session, gallery, self.crosswalk.models.space("new"), upgrade)
            self.crosswalk.store_targets.copy(self.crosswalk.galleries.info(gallery), number)
            if state == UpgradeState.READY:
                with self.crosswalk.database.session() as session:
                    generations.ready_in_store(session, gallery, number)

    def info(self, gallery: str = "faq") -> GalleryInfo:
        return self.crosswalk.galleries.info(gallery)

    def column(self, gallery: str = "faq", number: int = 2) -> str:
        made = self.info(gallery).generations[number].in_store
        assert made is not None
        return made.target.name

    def now(self, upgrade: str = "upg") -> tuple[str, int]:
        """The state of the upgrade, and the active generation of `faq`."""
        return str(self.crosswalk.upgrades.get(upgrade).state), self.info().active


class TableGallery(StoreGallery):
    """20 items in `documents`, and their upgrade `upg`, which is ready: generation 2."""

    def __init__(self, crosswalk: Crosswalk, table: VectorTable) -> None:
        super().__init__(crosswalk)
        self.table = table

    @classmethod
    def made(cls, settings: Settings, database: Database, folder: Path, postgres_url: str) -> TableGallery:
        table = VectorTable.of_sqlalchemy(postgres_url, OLD)
        table.insert([str(number) for number in range(len(VECTORS))], VECTORS)
        changes = {"connections": connections_file(folder, shop=table.uri)}
        self = cls(compose(settings.model_copy(update=changes), database), table)
        self.register_models()
        self.register("faq", TABLE)
        self.upgrade("upg", ["faq"])
        return self

    def seen(self) -> str | None:
        """The column whose vectors readers of the view get; None where there is no view yet."""
        view = f"{TABLE}_current"
        if self.table.execute("SELECT to_regclass(%s)", [view]) == [(None,)]:
            return None
        shown = self.table.vectors(VECTOR, of=view)
        (same,) = [
            column
            for column in [VECTOR, *self.table.added()]
            if {one: vector.tobytes() for one, vector in self.table.vectors(column).items()}
            == {one: vector.tobytes() for one, vector in shown.items()}
        ]
        return same


if __name__ == "__main__":
    arm("gateway")
    if sys.argv[1] == "index":
        do_step(compose(Settings()), ["index"])
    else:
        compose(Settings()).upgrades.activate(sys.argv[1], EVERYTHING)
