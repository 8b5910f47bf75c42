"""Publishes a new index of a generation whose live one has grown a long tail of writes, or turned out corrupt."""

from sqlalchemy.orm import Session

from app.composition import compose
from app.galleries import generations
from workers.context import StepContext
from workers.serving.indexing import build_index, settle


def run(context: StepContext) -> None:
    """The old index serves until the pointer moves; whoever has it open takes the new one over at the next search."""
    crosswalk = compose(context.settings, context.database)
    gallery, number = str(context.lease.arguments["gallery"]), int(context.lease.arguments["generation"])
    info = crosswalk.galleries.info(gallery)
    built = build_index(crosswalk, info, number, context.progress)

    def apply(session: Session) -> None:
        generations.published(session, gallery, number, built.version, built.index)

    context.finish(apply)
    settle(crosswalk, gallery, built)
