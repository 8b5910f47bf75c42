"""Checksums of the files of Lance tables, which Lance itself has none of: a flipped bit would be another vector.

Files of a table never change once a commit has named them. Each has a file of its SHA-256 in a folder beside the table,
written after the commit: `items.lance.sha256/<name>.sha256`. A file without one, as an older release or a crash right
after a commit leaves it, is sealed by the next write.
"""

from collections.abc import Iterator
from pathlib import Path

import lance
import structlog

from app.problems import DamagedFile
from models.portable import CorruptArtifact, check_seal, seal, seal_path

_NEWEST_FIRST = 2**64 - 1  # manifests are named by what is left to this number, so that the newest is listed first
_VERSIONS, _DATA = "_versions", "data"

log = structlog.get_logger(__name__)


def seal_table(table: Path, dataset: lance.LanceDataset) -> None:
    """Keeps a checksum of every file of a committed version that has none yet, and drops those of files long gone.

    A full disk takes none: the commit stands, and the next one makes up for it.
    """
    folder = _folder(table)
    try:
        folder.mkdir(exist_ok=True)
        sealed = {path.name for path in folder.iterdir()}
        for path in _files(table, dataset):
            if seal_path(path, folder).name not in sealed:
                seal(path, folder)
    except OSError as error:
        log.warning("no checksum kept; the next write makes up for it", table=str(table), error=repr(error))


def drop_stale_seals(table: Path) -> None:
    """Drops the checksums of files that were cleaned up."""
    there = {f"{path.name}.sha256" for path in table.rglob("*") if path.is_file()}
    for sidecar in _folder(table).glob("*.sha256"):
        if sidecar.name not in there:
            sidecar.unlink(missing_ok=True)


def check_table(table: Path, version: int | None = None) -> int:
    """Compares the files of a version of a table, or of its newest, with their checksums; how many have one.

    The manifest is compared before Lance reads it: a damaged one can end the process. Raises DamagedFile.
    """
    folder, checked = _folder(table), 0
    try:
        manifests = table / _VERSIONS
        newest = min(manifests.glob("*.manifest"), default=None) if version is None else _manifest(table, version)
        if newest is not None:
            checked += check_seal(newest, folder)
        dataset = lance.dataset(str(table), version=version)
        for path in _files(table, dataset):
            if path != newest:
                if not path.is_file():
                    raise CorruptArtifact(f"{path} is missing")
                checked += check_seal(path, folder)
    except CorruptArtifact as error:
        raise DamagedFile(f"{error}.", file=str(table)) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DamagedFile(f"{table} cannot be read: {error}.", file=str(table)) from error
    return checked


def unsealed(table: Path) -> int:
    """How many files of the newest version have no checksum yet."""
    return sum(not seal_path(path, _folder(table)).exists() for path in _files(table, lance.dataset(str(table))))


def _files(table: Path, dataset: lance.LanceDataset) -> Iterator[Path]:
    """What a version consists of: its manifest, the data files that it names, and its lists of deleted rows."""
    yield _manifest(table, int(dataset.version))
    for fragment in dataset.get_fragments():
        for file in fragment.data_files():
            yield table / _DATA / str(file.path)
        if (deleted := fragment.deletion_file()) is not None:
            yield table / deleted


def _manifest(table: Path, version: int) -> Path:
    return table / _VERSIONS / f"{_NEWEST_FIRST - version}.manifest"


def _folder(table: Path) -> Path:
    return table.with_name(f"{table.name}.sha256")
