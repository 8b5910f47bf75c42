"""Writes the new generations' vectors, from a tagged version of the items, in units that any number of workers share.

This step plans the units and calls for helpers, does units itself until none is left, and commits what all have
written. Whoever resumes it finds the plan, and every unit that is done, in the database.
"""

import time
from collections.abc import Sequence
from typing import Any

from app.composition import Crosswalk, compose
from app.failpoints import Failpoint, reached
from app.galleries import generations
from app.galleries.store import GalleryStore
from app.upgrades.info import UpgradeInfo
from app.upgrades.states import Event
from app.upgrades.transform_units import TransformUnit, UnitsDone, divided
from workers.context import StepContext
from workers.serving.indexing import hold
from workers.serving.transforming import UnitWork

_LOOK_SECONDS = 0.2


def run(context: StepContext) -> None:
    """Transforms every gallery of the upgrade; the checkpoint says which are committed, and as of which version. Where
    items lie in a store of the user's own, it is written there, and nothing is kept here."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    state = {name: kept for name, kept in context.lease.checkpoint.items() if kept.get("committed")}
    in_stores = galleries_in_stores(crosswalk, upgrade)
    here = [name for name in upgrade.galleries if name not in in_stores]
    waiting = [name for name in here if name not in state]
    planned = {name: plan_units(context, crosswalk, upgrade, name) for name in waiting}
    _do_all(context, crosswalk, upgrade.id)
    for name, (number, version) in planned.items():
        _commit(context, crosswalk, upgrade.id, name, number)
        state[name] = {"generation": number, "version": version, "committed": True}
        context.checkpoint(state)
    for name in in_stores:
        number = build_generation(crosswalk, upgrade, name)
        crosswalk.store_targets.copy(crosswalk.galleries.info(name), number, context.progress)

    def apply(session: Any) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.TRANSFORMED, "index")
        for name in here:
            generations.stored(session, name, state[name]["generation"], state[name]["version"])
        crosswalk.transform_units.forget(session, upgrade.id)

    context.finish(apply)


def plan_units(context: StepContext, crosswalk: Crosswalk, upgrade: UpgradeInfo, name: str) -> tuple[int, int]:
    """Divides a gallery into units, unless an attempt before has; its new generation, and the version of the items."""
    number = build_generation(crosswalk, upgrade, name)
    with crosswalk.database.read() as session:
        version = crosswalk.transform_units.version(session, upgrade.id, name)
    store = crosswalk.galleries.store(crosswalk.galleries.info(name))
    if version is not None:
        store.items.check(version)
        return number, version
    version = store.items.version
    hold(store, number, version)
    store.items.check(version)
    units = _units(store, upgrade.id, name, number, version, context.settings.transform_unit_rows)
    if units:
        with context.holding() as session:
            crosswalk.transform_units.plan(session, units)
        reached(Failpoint.UNITS_PLANNED)
    return number, version


def build_generation(crosswalk: Crosswalk, upgrade: UpgradeInfo, name: str) -> int:
    """The number of the generation of a gallery that the upgrade makes; the same one however often it is asked for."""
    space = crosswalk.models.space(upgrade.target)
    with crosswalk.database.session() as session:
        number = generations.build(session, name, space, upgrade.id)
    reached(Failpoint.GENERATION_BUILT)
    return number


def galleries_in_stores(crosswalk: Crosswalk, upgrade: UpgradeInfo) -> list[str]:
    """The upgrade's galleries whose items lie in stores of the users' own."""
    return [name for name in upgrade.galleries if crosswalk.galleries.info(name).elsewhere is not None]


def _units(
    store: GalleryStore, upgrade: str, gallery: str, generation: int, version: int, unit_rows: int
) -> Sequence[TransformUnit]:
    fragments = [(one.fragment_id, one.count_rows()) for one in store.items.fragments(version)]
    return [
        TransformUnit(upgrade, gallery, number, generation, version, slices)
        for number, slices in enumerate(divided(fragments, unit_rows))
    ]


def _do_all(context: StepContext, crosswalk: Crosswalk, upgrade: str) -> None:
    """Returns when every unit has its result: does what nobody does, and waits for what others do."""
    work = UnitWork(context, crosswalk, upgrade)
    so_far = _done(crosswalk, upgrade)

    def progress(_unit: TransformUnit, done: int) -> None:
        context.progress(so_far.rows + done, so_far.total)

    while so_far.left:
        context.progress(so_far.rows, so_far.total)
        if not work.do_next(progress):
            time.sleep(_LOOK_SECONDS)
        so_far = _done(crosswalk, upgrade)


def _done(crosswalk: Crosswalk, upgrade: str) -> UnitsDone:
    with crosswalk.database.read() as session:
        return crosswalk.transform_units.done(session, upgrade)


def _commit(context: StepContext, crosswalk: Crosswalk, upgrade: str, name: str, number: int) -> None:
    """Makes what was written of a gallery its generation's vectors, whichever workers wrote it."""
    with crosswalk.database.read() as session:
        pieces = crosswalk.transform_units.pieces(session, upgrade, name)
    info = crosswalk.galleries.info(name)
    generation = crosswalk.galleries.store(info).generation(number, info.generations[number].space.dimension)
    generation.commit(pieces, while_=context.holding)
    with context.holding():
        generation.drop_pieces()
