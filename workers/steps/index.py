"""Carries over what was written meanwhile, then builds and publishes the new generation's index. Resumable."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from app.composition import compose
from app.galleries.info import GalleryInfo
from workers.context import StepContext
from workers.serving.indexing import Built, build_index, settle


def run(context: StepContext) -> None:
    """Indexes the generation that the upgrade made in every gallery; then it is switched to, or stays ready. A store of
    the user's own indexes what was written there; its readers are switched just before it is said that they are."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    state: dict[str, Any] = dict(context.lease.checkpoint)
    infos = [crosswalk.galleries.info(name) for name in upgrade.galleries]
    numbers = {info.id: _made(info, upgrade.id) for info in infos}
    in_stores = [info for info in infos if info.elsewhere is not None]
    for info in infos:
        name, number = info.id, numbers[info.id]
        if name not in state and info not in in_stores:
            state[name] = asdict(build_index(crosswalk, info, number, context.progress))
            context.checkpoint(state)
    targets = crosswalk.store_targets
    for info in in_stores:
        targets.index(info, numbers[info.id])
    for info in in_stores:
        targets.catch_up(info, numbers[info.id], context.progress)
    built = {name: Built(**made) for name, made in state.items()}

    def apply(session: Session) -> None:
        crosswalk.upgrade_steps.finish(
            session,
            upgrade.id,
            {name: (b.generation, b.version, b.index) for name, b in built.items()},
            {info.id: numbers[info.id] for info in in_stores},
        )

    switched = in_stores if upgrade.asked.activate == "when_accepted" else []
    with targets.alone(switched):
        for info in switched:
            targets.switch(info, numbers[info.id], context.progress)
        context.finish(apply)
    for name, made in built.items():
        settle(crosswalk, name, made)


def _made(info: GalleryInfo, upgrade: str) -> int:
    return next(made.number for made in info.generations.values() if made.upgrade == upgrade)
