"""Helps an upgrade's transformation, unit by unit, beside the step that plans and commits it."""

from sqlalchemy.orm import Session

from app.composition import Crosswalk, compose
from app.upgrades.transform_units import HELP, TransformUnit
from workers.context import StepContext
from workers.serving.transforming import UnitWork


def run(context: StepContext) -> None:
    """Does units until none is free; or, where other work waits that is older, until the end of the one that it does,
    and then stands in line again. The upgrade may end meanwhile: then nothing of it is left to do."""
    crosswalk = compose(context.settings, context.database)
    upgrade = str(context.lease.arguments["upgrade"])
    work = UnitWork(context, crosswalk, upgrade)

    def progress(unit: TransformUnit, done: int) -> None:
        context.progress(done, unit.rows)

    while work.do_next(progress):
        if _others_wait(crosswalk):
            context.finish(lambda session: crosswalk.transform_units.call_for_help(session, upgrade))
            return

    def apply(session: Session) -> None:
        # Those that wait to help would find nothing either; where a helper dies, the step itself does its unit.
        crosswalk.transform_units.need_no_help(session, upgrade)

    context.finish(apply)


def _others_wait(crosswalk: Crosswalk) -> bool:
    with crosswalk.database.read() as session:
        return crosswalk.jobs.waits(session, other_than=HELP)
