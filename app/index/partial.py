"""A published index is there wholly or not at all.

Files are written into a folder of their own and synced, the manifest with their digests last; then the folder gets its
name, which ends in the manifest's checksum. What was published before stays until `prune`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.failpoints import Failpoint, reached
from app.index.manifest import FILE, Digest, Manifest
from models.portable import sync

_PARTIAL = ".partial-"


@contextmanager
def partial_index(folder: Path) -> Iterator[Path]:
    """A new directory in `folder` for an index's files; it goes with them unless `finish` gets it its name."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync(folder)
    reached(Failpoint.INDEX_PUBLISHED)


def finish(partial: Path, describe: Callable[[dict[str, Digest]], Manifest]) -> Path:
    """Publishes what lies in the directory, under the manifest that `describe` makes of its files' digests."""
    manifest = describe({path.name: Digest.of(path) for path in sorted(partial.iterdir())})
    (partial / FILE).write_text(manifest.dump())
    reached(Failpoint.INDEX_MANIFEST_WRITTEN)
    for path in (*partial.iterdir(), partial):
        sync(path)
    reached(Failpoint.INDEX_SYNCED)
    published = partial.parent / manifest.name
    partial.rename(published)
    reached(Failpoint.INDEX_RENAMED)
    return published


def prune(folder: Path, keep: Collection[str]) -> None:
    """Deletes what lies in `folder` but the directories named, once those are what is pointed at.

    An index still open elsewhere goes on being searched: its files vanish when it is closed. Not while another is made
    in the same folder, whose unfinished directory would go as well.
    """
    for path in folder.iterdir():
        if path.name not in keep:
            shutil.rmtree(path)
            reached(Failpoint.INDEX_PRUNED)
