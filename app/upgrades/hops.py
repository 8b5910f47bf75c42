"""Crossings that upgrades learned, as evaluations use them: which leads from one model's vectors to another's."""

from dataclasses import dataclass

from sqlalchemy import select

from app.problems import NoRoute, NotFound
from app.storage.database import Database
from app.upgrades import states
from app.upgrades.states import State
from app.upgrades.tables import COMPATIBLE, FORWARD, UpgradeRow

_ACCEPTED = states.CROSSABLE | {State.ROLLED_BACK}


@dataclass(frozen=True)
class Hop:
    """One upgrade's crossing, from vectors of `source` to where queries of `target` search."""

    upgrade: str
    source: str
    target: str
    strategy: str
    state: str

    @property
    def trained(self) -> bool:
        """Whether the queries' model was trained to land in the space of the gallery's, whose vectors are padded."""
        return self.strategy == COMPATIBLE


class Hops:
    """What evaluations ask of upgrades."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def named(self, upgrade: str) -> tuple[Hop, bool]:
        """The crossing of an upgrade, accepted or not, and whether it has been learned. Raises NotFound."""
        with self._database.read() as session:
            row = session.get(UpgradeRow, upgrade)
        if row is None:
            raise NotFound(f"There is no upgrade {upgrade!r}. GET /upgrades lists them.")
        return _hop(row), row.learned is not None

    def accepted(self, source: str, target: str) -> Hop | None:
        """The newest crossing between two models that a gate accepted; a learned one rather than a trained model's."""
        found = [row for row in self._between(source, target) if row.state in _ACCEPTED]
        ordered = sorted(found, key=lambda row: (row.strategy == FORWARD, row.id))
        return _hop(ordered[-1]) if ordered else None

    def needed(self, source: str, target: str) -> Hop:
        """The same. Raises NoRoute, which says what would make one, where there is none."""
        if (hop := self.accepted(source, target)) is not None:
            return hop
        why = f"No accepted upgrade leads from vectors of model {source!r} to queries of {target!r}."
        for row in reversed(self._between(source, target)):
            if row.learned is not None:
                raise NoRoute(
                    f'{why} Upgrade {row.id} is {row.state}; {{"via": "{row.id}"}} evaluates it all the same.',
                    upgrade=row.id,
                )
            if row.state in states.RUNNING:
                raise NoRoute(f"{why} Upgrade {row.id} is {row.state}; wait: GET /upgrades/{row.id}.", upgrade=row.id)
        raise NoRoute(
            f'{why} Learn a crossing: POST /models/{source}/upgrade with {{"to": "{target}", "dataset": …}}; '
            '"dry_run": true leaves every gallery alone.'
        )

    def _between(self, source: str, target: str) -> list[UpgradeRow]:
        """Oldest first."""
        query = select(UpgradeRow).where(UpgradeRow.source == source, UpgradeRow.target == target)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(UpgradeRow.id)))


def _hop(row: UpgradeRow) -> Hop:
    return Hop(row.id, row.source, row.target, row.strategy, row.state)
