"""Carries over what was written meanwhile, then builds and publishes the new generation's index. Resumable."""

from collections.abc import Iterator
from typing import Any

from app.composition import compose
from app.galleries.indexing import Indexing
from app.galleries.lineage import Projected
from workers.context import StepContext


def run(context: StepContext) -> None:
    """Indexes the generation that the upgrade made in every gallery; then it is switched to, or stays ready."""
    crosswalk = compose(context.settings)
    upgrade = crosswalk.upgrades.row(context.lease.subject)
    built: dict[str, Any] = dict(context.lease.checkpoint)
    for name in upgrade.galleries:
        if name not in built:
            info = crosswalk.galleries.info(name)
            number = next(step.number for step in info.generations.values() if step.upgrade == upgrade.id)
            indexing = Indexing(crosswalk.galleries, info, number)
            built[name] = {
                "generation": number,
                **indexing.build(lambda parts, total: _reported(context, parts, total)),
            }
            context.checkpoint(built)

    def apply(session: Any) -> None:
        for name, made in built.items():
            crosswalk.galleries.published(session, name, made["generation"], made["version"], made["index"])
        crosswalk.upgrades.finish(session, upgrade.id)

    context.finish(apply)


def _reported(context: StepContext, parts: Iterator[Projected], total: int) -> Iterator[Projected]:
    done = 0
    for part in parts:
        done += len(part.rows)
        context.progress(done, total)
        yield part
