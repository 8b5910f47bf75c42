"""Carries over what was written meanwhile, then builds and publishes the new generation's index. Resumable."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from app.composition import compose
from workers.context import StepContext
from workers.serving.indexing import Built, build_index, settle


def run(context: StepContext) -> None:
    """Indexes the generation that the upgrade made in every gallery; then it is switched to, or stays ready."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    state: dict[str, Any] = dict(context.lease.checkpoint)
    for name in upgrade.galleries:
        if name not in state:
            info = crosswalk.galleries.info(name)
            number = next(made.number for made in info.generations.values() if made.upgrade == upgrade.id)
            state[name] = asdict(build_index(crosswalk, info, number, context.progress))
            context.checkpoint(state)
    built = {name: Built(**made) for name, made in state.items()}

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.finish(
            session, upgrade.id, {name: (b.generation, b.version, b.index) for name, b in built.items()}
        )

    context.finish(apply)
    for name, made in built.items():
        settle(crosswalk, name, made)
