"""Writes the new generation's vectors, fragment by fragment, from a tagged version of the items. Resumable."""

from collections.abc import Iterator
from typing import Any

from app.composition import Crosswalk, compose
from app.failpoints import Failpoint, reached
from app.galleries import generations
from app.galleries.info import GalleryInfo
from app.galleries.lineage import Lineage, Projected
from app.galleries.store import GalleryStore
from app.upgrades.states import Event
from workers.context import StepContext
from workers.parallel import side_by_side
from workers.serving.indexing import hold


def run(context: StepContext) -> None:
    """Transforms every gallery of the upgrade; the checkpoint holds which version and which pieces are written."""
    crosswalk = compose(context.settings, context.database)
    upgrade = crosswalk.upgrade_steps.info(context.lease.subject)
    state = dict(context.lease.checkpoint)
    for name in upgrade.galleries:
        if state.get(name, {}).get("committed"):
            continue
        _transform(context, crosswalk, upgrade.id, name, upgrade.target, state)

    def apply(session: Any) -> None:
        crosswalk.upgrade_steps.advance(session, upgrade.id, Event.TRANSFORMED, "index")
        for name in upgrade.galleries:
            generations.stored(session, name, state[name]["generation"], state[name]["version"])

    context.finish(apply)


def _transform(
    context: StepContext, crosswalk: Crosswalk, upgrade: str, name: str, target: str, state: dict[str, Any]
) -> None:
    space = crosswalk.models.space(target)
    with crosswalk.database.session() as session:
        number = generations.build(session, name, space, upgrade)
    reached(Failpoint.GENERATION_BUILT)
    info = crosswalk.galleries.info(name)
    store = crosswalk.galleries.store(info)
    mine = state.setdefault(name, {"generation": number, "version": store.items.version, "pieces": {}})
    hold(store, number, mine["version"])
    store.items.check(mine["version"])
    lineage = crosswalk.galleries.lineage(info, number, uncertainty=True)
    total = store.items.count(version=mine["version"])
    done = 0
    for fragment in store.items.fragments(mine["version"]):
        key = str(fragment.fragment_id)
        if key not in mine["pieces"]:
            parts = _reported(context, _project(lineage, fragment), done, total)
            mine["pieces"][key] = _written(store, info, number, parts)
            context.checkpoint(state)
        done += fragment.count_rows()
        context.progress(done, total)
    pieces = [piece for written in mine["pieces"].values() for piece in written]
    generation = store.generation(number, lineage.dimension)
    generation.commit(pieces)
    context.checkpoint(state)  # only who still holds the lease gets past here
    generation.drop_pieces()
    mine["committed"] = True
    mine["pieces"] = {}
    context.checkpoint(state)


def _project(lineage: Lineage, fragment: Any) -> Iterator[Projected]:
    # The fragment's own: a column may have been added to the items since their version was tagged.
    columns = [name for name in lineage.columns if name in fragment.schema.names]
    batches = fragment.to_batches(columns=columns, with_row_id=True)
    for projected in side_by_side(lineage.project, batches):
        if len(projected.rows):
            yield projected


def _reported(context: StepContext, parts: Iterator[Projected], done: int, total: int) -> Iterator[Projected]:
    for part in parts:
        done += len(part.rows)
        context.progress(done, total)
        yield part


def _written(store: GalleryStore, info: GalleryInfo, number: int, parts: Iterator[Projected]) -> list[str]:
    dimension = info.generations[number].space.dimension
    return store.generation(number, dimension).write_fragment(parts)
