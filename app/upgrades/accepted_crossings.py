"""Which proved upgrades lead a model's queries to a gallery, and which would."""

from sqlalchemy import select

from app.galleries.info import GalleryInfo
from app.storage.database import Database
from app.upgrades import states
from app.upgrades.states import State
from app.upgrades.tables import COMPATIBLE, FORWARD, UpgradeRow


class Ways:
    """What search asks of upgrades."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def crossable(self, gallery: GalleryInfo) -> dict[str, str]:
        """The crossings proved on a gallery from its active generation's model, by the model that they lead to."""
        rows = self._proved(UpgradeRow.source == gallery.current.space.model)
        return {row.target: row.id for row in rows if row.strategy == FORWARD and gallery.id in row.galleries}

    def compatible(self, model: str) -> dict[str, str]:
        """The upgrades that trained a model, by the model in whose space it was proved to land."""
        rows = self._proved(UpgradeRow.target == model)
        return {row.source: row.id for row in rows if row.strategy == COMPATIBLE}

    def missing(self, gallery: GalleryInfo, model: str) -> str:
        """What to call so that queries of `model` can search a gallery that they cannot search now."""
        space = gallery.current.space.model
        why = f"Gallery {gallery.id!r} is in the space of model {space!r}, and nothing leads there from {model!r}."
        query = select(UpgradeRow).where(UpgradeRow.target == model).order_by(UpgradeRow.id.desc())
        with self._database.read() as session:
            rows = [row for row in session.scalars(query) if _leads_to(row, gallery)]
        for row in rows:
            if row.state == State.ROLLED_BACK:
                return f"{why} It was rolled back: POST /upgrades/{row.id}/activate switches to it again."
            if row.state in states.RUNNING:
                return f"{why} Upgrade {row.id} may change that; it is {row.state}: GET /upgrades/{row.id}."
            if row.strategy == COMPATIBLE and row.state in states.ENDED:
                return (
                    f"{why} Upgrade {row.id} was to train it compatible with {row.source!r}, and is {row.state}: GET "
                    f"/upgrades/{row.id} says why, and POST /models/{row.source}/upgrade with strategy `compatible` "
                    "trains it anew."
                )
        return f'{why} Learn a crossing: POST /models/{space}/upgrade with {{"to": "{model}", "dataset": …}}.'

    def _proved(self, which: object) -> list[UpgradeRow]:
        query = select(UpgradeRow).where(which, UpgradeRow.state.in_(states.CROSSABLE))  # type: ignore[arg-type]
        with self._database.read() as session:
            return list(session.scalars(query.order_by(UpgradeRow.id)))


def _leads_to(row: UpgradeRow, gallery: GalleryInfo) -> bool:
    if row.strategy == COMPATIBLE:
        return row.source in {step.space.model for step in gallery.ancestry(gallery.active)}
    return row.source == gallery.current.space.model and gallery.id in row.galleries
