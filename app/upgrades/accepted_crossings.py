"""Crossings that upgrades learned and a gate accepted: which lead from one model to another, or to a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, defer

from app.galleries.info import GalleryInfo
from app.keys.access import Access
from app.problems import NoRoute, NotFound
from app.storage.database import Database
from app.upgrades import states
from app.upgrades.request import COMPATIBLE, FORWARD, FUSED
from app.upgrades.states import UpgradeState
from app.upgrades.tables import UpgradeRow

_ACCEPTED = states.CROSSABLE | {UpgradeState.ROLLED_BACK}


@dataclass(frozen=True)
class UpgradeCrossing:
    """One upgrade's crossing, from vectors of `source` to where queries of `target` search, once it is `learned`.

    fused_only: the galleries that it answers queries of only fused with the old model's; of another, none.
    """

    upgrade: str
    source: str
    target: str
    strategy: str
    state: str
    learned: bool
    fused_only: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: UpgradeRow) -> UpgradeCrossing:
        fused_only = tuple(row.galleries) if _fused_only(row) else ()
        return cls(row.id, row.source, row.target, row.strategy, row.state, row.learned is not None, fused_only)

    @property
    def needed(self) -> bool:
        """Whether a gate accepted it, so that searches may be led across."""
        return self.learned and self.state in _ACCEPTED

    @property
    def trained(self) -> bool:
        """Whether the queries' model was trained to land in the space of the gallery's, whose vectors are padded."""
        return self.strategy == COMPATIBLE


class AcceptedCrossings:
    """What evaluations ask of upgrades."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def named(self, upgrade: str, within: Session | None = None) -> UpgradeCrossing:
        """The crossing of an upgrade, accepted or not. `within`: the caller's session where there is one. Raises
        NotFound."""
        with self._database.read(within) as session:
            row = session.get(UpgradeRow, upgrade)
        if row is None:
            raise NotFound(f"There is no upgrade {upgrade!r}. GET /upgrades lists them.")
        return UpgradeCrossing.of(row)

    def accepted(self, source: str, target: str, within: Session | None = None) -> UpgradeCrossing | None:
        """The newest crossing between two models that a gate accepted; a learned one rather than a trained model's.
        `within`: the caller's session where there is one."""
        return _newest_accepted(self._between(source, target, within))

    def needed(self, source: str, target: str, caller: Access, within: Session | None = None) -> UpgradeCrossing:
        """The newest accepted crossing between two models of those that the caller's key sees. Without one, raises
        NoRoute, saying what would make one."""
        rows = [row for row in self._between(source, target, within) if caller.sees_upgrade_of(row.galleries)]
        if (crossing := _newest_accepted(rows)) is not None:
            return crossing
        why = f"No accepted upgrade leads from vectors of model {source!r} to queries of {target!r}."
        for row in reversed(rows):
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

    def _between(self, source: str, target: str, within: Session | None) -> list[UpgradeRow]:
        """The upgrades from one model to another, in whatever state, oldest first."""
        query = select(UpgradeRow).where(UpgradeRow.source == source, UpgradeRow.target == target)
        with self._database.read(within) as session:
            return list(session.scalars(query.order_by(UpgradeRow.id)))


def _newest_accepted(rows: Sequence[UpgradeRow]) -> UpgradeCrossing | None:
    accepted = [row for row in rows if row.state in _ACCEPTED]
    if not accepted:
        return None
    # A crossing that the gate accepted only as fused misses by itself, and is taken where there is no other.
    return UpgradeCrossing.of(max(accepted, key=lambda row: (row.strategy == FORWARD, not _fused_only(row), row.id)))


@dataclass(frozen=True)
class ProvedCrossing:
    """A crossing that a gate accepted, by its upgrade and the galleries of that; `fused_only` where it did not by
    itself, but fused with the old model's queries."""

    upgrade: str
    galleries: tuple[str, ...]
    fused_only: bool


@dataclass(frozen=True)
class ProvedCrossings:
    """Those that lead from a gallery to one model. newest: of all of them; alone: the newest that a gate accepted by
    itself, which goes on answering queries of the new model alone where a newer one was accepted only as fused."""

    newest: ProvedCrossing
    alone: ProvedCrossing | None


def proved_crossings(session: Session, gallery: GalleryInfo) -> dict[str, ProvedCrossings]:
    """The crossings proved on a gallery from its active generation's model, by the model that they lead to."""
    crossings: dict[str, ProvedCrossings] = {}
    for row in _proved(session, UpgradeRow.source == gallery.current.space.model):  # the newest last
        if row.strategy == FORWARD and _names(row, gallery):
            one, known = ProvedCrossing(row.id, tuple(row.galleries), _fused_only(row)), crossings.get(row.target)
            alone = one if not one.fused_only else None if known is None else known.alone
            crossings[row.target] = ProvedCrossings(one, alone)
    return crossings


def crossable(session: Session, gallery: GalleryInfo) -> set[tuple[str, str]]:
    """The models whose queries `proved_crossings` lead to a gallery, each with every upgrade that does: the
    newest, and the newest that was accepted by itself."""
    return {
        (model, crossing.upgrade)
        for model, crossings in proved_crossings(session, gallery).items()
        for crossing in (crossings.newest, crossings.alone)
        if crossing is not None
    }


def _fused_only(row: UpgradeRow) -> bool:
    return row.served_as == FUSED


def compatible(session: Session, model: str) -> dict[str, str]:
    """The upgrades that trained a model, by the model in whose space it was proved to land."""
    rows = _proved(session, UpgradeRow.target == model)
    return {row.source: row.id for row in rows if row.strategy == COMPATIBLE}


def missing(session: Session, gallery: GalleryInfo, model: str, caller: Access) -> str:
    """What to call so that queries of `model` can search a gallery that they cannot search now. Only upgrades that the
    caller's key sees are named."""
    space = gallery.current.space.model
    why = f"Gallery {gallery.id!r} is in the space of model {space!r}, and nothing leads there from {model!r}."
    query = select(UpgradeRow).where(UpgradeRow.target == model).order_by(UpgradeRow.id.desc())
    for row in session.scalars(query).all():
        if not _leads_to(row, gallery) or not caller.sees_upgrade_of(row.galleries):
            continue
        if row.state == UpgradeState.ROLLED_BACK:
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


def _proved(session: Session, which: ColumnElement[bool]) -> list[UpgradeRow]:
    """Of the upgrades that meet a condition, those whose crossing may answer queries; oldest first.

    Without their reports, which are long, and which searches would have to read again and again.
    """
    query = select(UpgradeRow).where(which, UpgradeRow.state.in_(states.CROSSABLE)).order_by(UpgradeRow.id)
    return list(session.scalars(query.options(defer(UpgradeRow.learned), defer(UpgradeRow.proofs))))


def _leads_to(row: UpgradeRow, gallery: GalleryInfo) -> bool:
    if row.strategy == COMPATIBLE:
        return row.source in {generation.space.model for generation in gallery.ancestry(gallery.active)}
    return row.source == gallery.current.space.model and _names(row, gallery)


def _names(row: UpgradeRow, gallery: GalleryInfo) -> bool:
    """Whether an upgrade is of a gallery: of this one, and not of one that was deleted and had its id before."""
    return gallery.id in row.galleries and gallery.created_at <= row.created_at
