"""The units into which the transformation of galleries is divided, so that many workers do it at once.

A unit is some ten thousands of items. Whoever does one holds a job, and claims the unit for as long as that job's lease
lasts: where a worker dies, its unit can be claimed by another, and nothing else of the work is lost. A unit's result is
written down once, by the one who holds it then; whatever a worker that was thought dead still comes up with is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.orm import Session

from app.failpoints import Failpoint, reached
from app.jobs.clock import database_now
from app.jobs.leases import is_leased
from app.jobs.service import Jobs
from app.upgrades.tables import TransformUnitRow

HELP = "transform_part"
"""The step of whoever helps with the units of an upgrade."""

_MOST_HELPERS = 64


@dataclass(frozen=True)
class RowSlice:
    """Rows of one fragment of the items: how many, from which on, deleted ones not counted."""

    fragment: int
    start: int
    rows: int


@dataclass(frozen=True)
class TransformUnit:
    """What one worker transforms at a time: slices of the items as of a version of theirs, for a generation."""

    upgrade: str
    gallery: str
    number: int
    generation: int
    version: int
    slices: tuple[RowSlice, ...]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.slices)


@dataclass(frozen=True)
class UnitsDone:
    """How far the units of an upgrade are, in rows; `left`: whether there are some without a result."""

    rows: int
    total: int
    left: bool


def divided(fragments: Sequence[tuple[int, int]], unit_rows: int) -> list[tuple[RowSlice, ...]]:
    """The slices of each unit: every row of the fragments once, in their order, `unit_rows` of them in each unit but
    the last. fragments: each with its id and its number of rows.
    """
    units: list[list[RowSlice]] = []
    space = 0
    for fragment, rows in fragments:
        start = 0
        while start < rows:
            if not space:
                units.append([])
                space = unit_rows
            taken = min(space, rows - start)
            units[-1].append(RowSlice(fragment, start, taken))
            start, space = start + taken, space - taken
    return [tuple(slices) for slices in units]


class TransformUnits:
    """Plans, hands out and collects units. Whoever calls holds a job: each method is part of a transaction that has
    locked that job and found it still held (`Leases.holding`), so that nobody who lost it writes anything."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def version(self, session: Session, upgrade: str, gallery: str) -> int | None:
        """The version of a gallery's items that its units are of; None where none were planned."""
        planned = select(TransformUnitRow.version).where(*_of(upgrade, gallery)).limit(1)
        return session.scalar(planned)

    def plan(self, session: Session, units: Sequence[TransformUnit]) -> None:
        """Writes down all units of one gallery, of which there were none, and calls for workers that help."""
        session.add_all(map(_row, units))
        for _ in range(min(len(units) - 1, _MOST_HELPERS)):
            self.call_for_help(session, units[0].upgrade)

    def call_for_help(self, session: Session, upgrade: str) -> None:
        """Has one more worker help, once there is one that has nothing older to do."""
        self._jobs.enqueue(session, HELP, helpers_of(upgrade), {"upgrade": upgrade})

    def need_no_help(self, session: Session, upgrade: str) -> None:
        """Sends those home who wait to help."""
        self._jobs.forget_waiting(session, helpers_of(upgrade))

    def claim(self, session: Session, upgrade: str, token: str) -> TransformUnit | None:
        """Takes the first unit without a result that nobody does; None where there is none. token: of the lease of the
        caller's job, for as long as which the unit is the caller's."""
        wanted = select(TransformUnitRow).where(*_free(session, upgrade))
        first = wanted.order_by(TransformUnitRow.gallery, TransformUnitRow.number).limit(1)
        row = session.scalars(first.with_for_update(skip_locked=True)).first()
        if row is None:
            return None
        row.holder = token
        return _unit(row)

    def any_free(self, session: Session, upgrade: str) -> bool:
        """Whether there is a unit to claim, by reading alone."""
        return (
            session.scalars(select(TransformUnitRow.number).where(*_free(session, upgrade)).limit(1)).first()
            is not None
        )

    def record(self, session: Session, unit: TransformUnit, token: str, pieces: Sequence[str]) -> bool:
        """Keeps the result of a unit, unless it is not the caller's any more; whether it was kept."""
        key = (unit.upgrade, unit.gallery, unit.number)
        row = session.get(TransformUnitRow, key, with_for_update=True, populate_existing=True)
        if row is None or row.holder != token or row.pieces is not None:
            return False
        row.pieces = list(pieces)
        reached(Failpoint.UNIT_RECORDING)
        return True

    def done(self, session: Session, upgrade: str) -> UnitsDone:
        """How far the units of an upgrade are."""
        done = TransformUnitRow.pieces.is_not(None)
        columns = (func.sum(TransformUnitRow.rows).filter(done), func.sum(TransformUnitRow.rows), func.count())
        of_all = select(*columns, func.count().filter(done)).where(TransformUnitRow.upgrade == upgrade)
        rows, total, count, with_result = session.execute(of_all).one()
        return UnitsDone(int(rows or 0), int(total or 0), count > with_result)

    def pieces(self, session: Session, upgrade: str, gallery: str) -> list[str]:
        """The results of a gallery's units, in the order of the items, whoever did them."""
        wanted = select(TransformUnitRow.pieces).where(*_of(upgrade, gallery)).order_by(TransformUnitRow.number)
        return [piece for pieces in session.scalars(wanted) for piece in pieces or ()]

    def forget(self, session: Session, upgrade: str) -> None:
        """Takes away the units of an upgrade, and sends those home who help: it is done, or will never be."""
        self._jobs.forget(session, helpers_of(upgrade))
        session.execute(delete(TransformUnitRow).where(TransformUnitRow.upgrade == upgrade))


def helpers_of(upgrade: str) -> str:
    """The subject of the jobs of those who help. Not the upgrade itself: where one of them fails, nothing is lost."""
    return f"{upgrade} {HELP}"


def _free(session: Session, upgrade: str) -> tuple[ColumnElement[bool], ...]:
    nobodys = or_(TransformUnitRow.holder.is_(None), ~is_leased(TransformUnitRow.holder, database_now(session)))
    return (TransformUnitRow.upgrade == upgrade, TransformUnitRow.pieces.is_(None), nobodys)


def _of(upgrade: str, gallery: str) -> tuple[ColumnElement[bool], ...]:
    return (TransformUnitRow.upgrade == upgrade, TransformUnitRow.gallery == gallery)


def _row(unit: TransformUnit) -> TransformUnitRow:
    return TransformUnitRow(
        upgrade=unit.upgrade,
        gallery=unit.gallery,
        number=unit.number,
        generation=unit.generation,
        version=unit.version,
        slices=[[one.fragment, one.start, one.rows] for one in unit.slices],
        rows=unit.rows,
    )


def _unit(row: TransformUnitRow) -> TransformUnit:
    slices = tuple(RowSlice(*one) for one in row.slices)
    return TransformUnit(row.upgrade, row.gallery, row.number, row.generation, row.version, slices)
