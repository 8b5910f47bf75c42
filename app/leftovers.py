"""What processes that were killed left on disk and nothing names any more. It is removed when a gateway starts.

A change of state is one commit, in SQL or in Lance; files are written before it and removed after it. Whoever dies in
between leaves files that are in nobody's way, and take space. Folders are swept once they are old enough that nobody
can be about to name them (`leftover_seconds`); what belongs to a gallery, while nobody works on that gallery.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterable
from itertools import chain
from pathlib import Path

import structlog

from app.composition import Crosswalk
from app.failpoints import Failpoint, reached
from app.galleries.leftovers import sweep_generations

log = structlog.get_logger(__name__)


def sweep_leftovers(crosswalk: Crosswalk) -> None:
    """Removes what nothing names. What cannot be removed is logged, and left to the next start."""
    settings, seconds = crosswalk.settings, crosswalk.settings.leftover_seconds
    _sweep(settings.uploads_dir.glob("upload-*"), lambda: (), seconds)
    _sweep(settings.galleries_dir.glob("*"), crosswalk.galleries.folders, seconds)
    _sweep(
        settings.datasets_dir.glob("*"), lambda: {one.name for one in crosswalk.datasets.folders().values()}, seconds
    )
    runs = chain(settings.artifacts_dir.glob("upg-*"), settings.artifacts_dir.glob("enc-*"))
    _sweep(runs, lambda: crosswalk.upgrades.ids() | set(crosswalk.encoders.runs()), seconds)
    _sweep(_unfinished(crosswalk), lambda: (), seconds)
    for folder in settings.galleries_dir.glob("*"):
        if (folder / "generations").exists() or (folder / "indexes").exists():
            gallery = folder.name.rpartition("-")[0]
            try:
                sweep_generations(
                    crosswalk.database, crosswalk.galleries, crosswalk.jobs, gallery, crosswalk.upgrades.working_on
                )
            except Exception:  # The service must start all the same.
                log.exception("leftovers of a gallery stay until the next start", gallery=gallery)


def _unfinished(crosswalk: Crosswalk) -> Iterable[Path]:
    """Files that are named so until they are whole, beside what they are to become."""
    settings, running = crosswalk.settings, crosswalk.upgrades.running_ids()
    for path in settings.artifacts_dir.glob("*/**/.*.partial*"):
        if path.relative_to(settings.artifacts_dir).parts[0] not in running:
            yield path
    yield from settings.galleries_dir.glob("*/samples/.*.partial*")


def _sweep(found: Iterable[Path], named: Callable[[], Collection[str]], seconds: float) -> None:
    """Removes those of the paths found that are old enough and that are not named; names are asked for afterwards, so
    that what was found and is named by then is kept."""
    old = [path for path in found if _untouched(path) >= seconds]
    if not old:
        return
    kept = named()
    for path in old:
        if path.name in kept:
            continue
        log.info("removing what nothing names", path=str(path))
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        reached(Failpoint.LEFTOVER_REMOVED)


def _untouched(path: Path) -> float:
    """For how many seconds nobody has written to a path or to what lies directly in it; 0 for one that is gone."""
    try:
        written = [path.stat().st_mtime, *(one.stat().st_mtime for one in (path.iterdir() if path.is_dir() else ()))]
    except FileNotFoundError:
        return 0.0
    return max(0.0, time.time() - max(written))
