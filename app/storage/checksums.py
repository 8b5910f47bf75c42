"""Checksums of the files of Lance tables, which Lance itself has none of: a flipped bit would be another vector.

Files of a table never change once a commit has named them. Each has a file of its SHA-256 in a folder beside the table,
written after the commit: `items.lance.sha256/<name>.sha256`. A write seals what it wrote itself. Files without a
checksum, as an older release, a full disk or a crash right after a commit leaves them, are sealed by `crosswalk verify
--repair`: a write that had to read all of them would keep its client waiting.
"""

import errno
from collections.abc import Collection
from pathlib import Path

import lance
import structlog

from app.problems import DamagedFile
from app.storage.location import VERSIONS
from app.storage.removal import remove_folder
from models.portable import CorruptArtifact, check_seal, seal, seal_path

_NEWEST_FIRST = 2**64 - 1  # manifests are named by what is left to this number, so that the newest is listed first
_DATA = "data"

log = structlog.get_logger(__name__)


def seal_table(table: Path, dataset: lance.LanceDataset, over: Collection[Path] = ()) -> None:
    """Keeps a checksum of every file of a committed version that has none yet, but for those of the version that it
    was written over, as `table_files` tells them. A full disk takes none: the commit stands.
    """
    _seal(table, table_files(table, dataset) - set(over))


def seal_data(table: Path, names: Collection[str]) -> None:
    """Keeps a checksum of data files that are to be committed to a table, by their names. A full disk takes none."""
    _seal(table, [table / _DATA / name for name in names])


def _seal(table: Path, files: Collection[Path]) -> None:
    folder = seals_of(table)
    try:
        folder.mkdir(exist_ok=True)
        for path in files:
            if not _sealed(path, folder):
                seal(path, folder)
    except OSError as error:
        log.warning("no checksum kept; verify --repair makes up for it", table=str(table), error=repr(error))


def seals_of(table: Path) -> Path:
    """The folder of a table's checksums."""
    return table.with_name(f"{table.name}.sha256")


def remove_table(table: Path) -> None:
    """Removes a table with its checksums, if they are there."""
    for folder in (table, seals_of(table)):
        remove_folder(folder)


def drop_stale_seals(table: Path) -> None:
    """Drops the checksums of files that were cleaned up."""
    there = {f"{path.name}.sha256" for path in table.rglob("*") if path.is_file()}
    for sidecar in seals_of(table).glob("*.sha256"):
        if sidecar.name not in there:
            sidecar.unlink(missing_ok=True)


def check_table(table: Path, version: int | None = None) -> int:
    """Compares the files of a version of a table, or of its newest, with their checksums; how many have one.

    The manifest is compared before Lance reads it: a damaged one can end the process. Raises DamagedFile.
    """
    folder, checked = seals_of(table), 0
    try:
        manifests = table / VERSIONS
        newest = min(manifests.glob("*.manifest"), default=None) if version is None else manifest_path(table, version)
        if newest is not None:
            checked += check_seal(newest, folder)
        dataset = lance.dataset(str(table), version=version)
        for path in table_files(table, dataset):
            if path != newest:
                if not path.is_file():
                    raise CorruptArtifact(f"{path} is missing")
                checked += check_seal(path, folder)
    except CorruptArtifact as error:
        raise DamagedFile(f"{error}.", file=str(table)) from error
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # the system's: too many open files, a disk that fails; Lance's own errors have no number
        raise DamagedFile(f"{table} cannot be read: {error}.", file=str(table)) from error
    return checked


def unsealed(table: Path) -> int:
    """How many files of the newest version have no checksum yet."""
    return sum(not _sealed(path, seals_of(table)) for path in table_files(table, lance.dataset(str(table))))


def table_files(table: Path, dataset: lance.LanceDataset) -> set[Path]:
    """What a version consists of: its manifest, the data files that it names, and its lists of deleted rows."""
    files = {manifest_path(table, int(dataset.version))}
    for fragment in dataset.get_fragments():
        files |= {table / _DATA / str(file.path) for file in fragment.data_files()}
        if (deleted := fragment.deletion_file()) is not None:
            files.add(table / deleted)
    return files


def _sealed(path: Path, folder: Path) -> bool:
    """Whether a checksum of a file was kept; an empty one is what a power cut leaves of it."""
    kept = seal_path(path, folder)
    return kept.exists() and kept.stat().st_size > 0


def manifest_path(table: Path, version: int) -> Path:
    """The file that Lance creates when it commits a version of a table."""
    return table / VERSIONS / f"{_NEWEST_FIRST - version:020}.manifest"
