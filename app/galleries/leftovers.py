"""What is left of a gallery's generations when the step that worked on them was killed, or its upgrade cancelled."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from app.failpoints import Failpoint, reached
from app.galleries.generations import lock
from app.galleries.info import GalleryInfo
from app.galleries.rebuilds import rebuild_of
from app.galleries.service import Galleries
from app.galleries.store import GalleryStore
from app.jobs.service import Jobs
from app.problems import NotFound
from app.storage.database import Database

log = structlog.get_logger(__name__)


def sweep_generations(
    database: Database, galleries: Galleries, jobs: Jobs, gallery: str, working_on: Callable[..., Sequence[str]]
) -> None:
    """Removes the vectors, indexes and tags that no generation of a gallery points at.

    Nothing while something is at work there: what it has made it is about to point at. working_on: the upgrades under
    way of a gallery.
    """
    try:
        info = galleries.info(gallery)
    except NotFound:  # The whole folder is a leftover, or has just been deleted.
        return
    if not any(_left(info, galleries.store(info))):
        return
    with database.session() as session:
        # Nobody begins to build a generation, or to index one, until this has ended.
        lock(session, [gallery])
        info = galleries.info(gallery, session)
        rebuilds = (jobs.progress(session, rebuild_of(gallery, number)) for number in info.generations)
        if not working_on(gallery=gallery, within=session) and not any(rebuilds):
            _sweep(info, galleries.store(info))


def _sweep(info: GalleryInfo, store: GalleryStore) -> None:
    for what in _left(info, store):
        log.info("removing what no generation points at", gallery=info.id, what=str(what))
        if isinstance(what, Path):
            shutil.rmtree(what, ignore_errors=True)
        else:
            store.items.untag(what)
        reached(Failpoint.LEFTOVER_REMOVED)


def _left(info: GalleryInfo, store: GalleryStore) -> Iterator[Path | str]:
    """The folders and the tags that no generation points at."""
    known = info.generations
    for path in (store.folder / "generations").glob("*.lance*"):  # with the folder of its files' checksums
        number = path.name.partition(".")[0]
        if number.isdigit() and int(number) not in known:
            yield path
    for path in (store.folder / "indexes").glob("*/*"):
        number = path.parent.name
        generation = known.get(int(number)) if number.isdigit() else None
        if generation is None or path.name != generation.index_name:
            yield path
    kept = {f"generation-{number}-{generation.store_version}" for number, generation in known.items()}
    yield from (tag for tag in store.items.tags() if tag.startswith("generation-") and tag not in kept)
