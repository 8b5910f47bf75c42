"""Does units of an upgrade's transformation, one after the other: what the step itself does, and whoever helps it."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import structlog

from app.composition import Crosswalk
from app.failpoints import Failpoint, reached
from app.galleries.lineage import Lineage, Projected
from app.galleries.store import GalleryStore
from app.upgrades.transform_units import RowSlice, TransformUnit
from models.side_by_side import SideBySide, blas_threads, side_by_side
from workers.context import StepContext

log = structlog.get_logger(__name__)


class UnitWork:
    """One process's share in the units of an upgrade. Raises LeaseLost where its job is not its own any more."""

    def __init__(self, context: StepContext, crosswalk: Crosswalk, upgrade: str) -> None:
        self._context = context
        self._crosswalk = crosswalk
        self._upgrade = upgrade
        self._lineages: dict[str, tuple[GalleryStore, Lineage]] = {}

    def do_next(self, progress: Callable[[TransformUnit, int], None]) -> bool:
        """Transforms the first unit that nobody does, and writes its result down; whether there was one.

        progress: told the unit, and how many of its rows are done, again and again.
        """
        with self._crosswalk.database.read() as session:  # so that who waits for others does not keep writers waiting
            if not self._crosswalk.transform_units.any_free(session, self._upgrade):
                return False
        with self._context.holding() as session:
            unit = self._crosswalk.transform_units.claim(session, self._upgrade, self._context.lease.token)
        if unit is None:
            return False
        reached(Failpoint.UNIT_CLAIMED)
        store, lineage = self._of(unit)
        generation = store.generation(unit.generation, lineage.dimension)
        try:
            with side_by_side(blas_threads()) as threads:
                projected = _projected(store, lineage, unit, threads)
                pieces = generation.write_fragment(_told(projected, unit, progress))
        except OSError:
            with self._context.holding():  # Who is late finds the vectors committed: it is LeaseLost then.
                raise
        with self._context.holding() as session:
            kept = self._crosswalk.transform_units.record(session, unit, self._context.lease.token, pieces)
        reached(Failpoint.UNIT_RECORDED)
        if not kept:
            log.warning("a unit was done too late; another has it", gallery=unit.gallery, unit=unit.number)
        return True

    def _of(self, unit: TransformUnit) -> tuple[GalleryStore, Lineage]:
        if unit.gallery not in self._lineages:
            info = self._crosswalk.galleries.info(unit.gallery)
            lineage = self._crosswalk.galleries.lineage(info, unit.generation, uncertainty=True)
            self._lineages[unit.gallery] = self._crosswalk.galleries.store(info), lineage
        return self._lineages[unit.gallery]


def _projected(store: GalleryStore, lineage: Lineage, unit: TransformUnit, threads: SideBySide) -> Iterator[Projected]:
    """The unit's items in the generation's space; those without any vector are left out."""
    fragments = {fragment.fragment_id: fragment for fragment in store.items.fragments(unit.version)}
    batches = chain.from_iterable(_batches(fragments[one.fragment], one, lineage) for one in unit.slices)
    for part in threads.map(lineage.project, batches):
        if len(part.rows):
            yield part


def _batches(fragment: Any, rows: RowSlice, lineage: Lineage) -> Iterator[Any]:
    # The fragment's own: a column may have been added to the items since their version was tagged.
    columns = [name for name in lineage.columns if name in fragment.schema.names]
    yield from fragment.to_batches(columns=columns, with_row_id=True, offset=rows.start, limit=rows.rows)


def _told(
    parts: Iterator[Projected], unit: TransformUnit, progress: Callable[[TransformUnit, int], None]
) -> Iterator[Projected]:
    done = 0
    for part in parts:
        done += len(part.rows)
        progress(unit, done)
        yield part
