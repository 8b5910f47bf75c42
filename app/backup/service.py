"""Takes a backup of a service, running or not, and makes a service of a backup.

A backup is whole because of the order: first the database's rows as of one moment, then the files. Whatever the rows
name was there before they were, and what was written since only adds to it: items that came meanwhile are in the
backup, and no row is without its files. Indexes and transformed vectors go with it although they can be made again, so
that a restored service answers at once.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select

from app import __version__
from app.backup.database_copy import from_file, opened, to_file
from app.backup.files import CopiedFile, copy_file, copy_tree, described
from app.backup.manifest import BackupManifest, NotABackup
from app.settings import Settings
from app.storage.database import Database
from app.storage.lance_table import Table
from app.storage.migrate import pending
from app.tables import DatasetRow, GalleryRow
from models.portable import sync

_DATABASE = "database.sqlite"
_LOCK_SUFFIX = ".lock"
"""Of files that processes tell each other by that they are at something: there is nothing in them."""
_DATA = "data"
_ATTEMPTS = 5


class CannotBackUp(Exception):
    """Why no backup can be taken here, or none restored here."""


def back_up(settings: Settings, folder: Path) -> BackupManifest:
    """Copies the service's database and data directory to a new folder, which appears when it is whole.

    Raises CannotBackUp, and OSError where the disk is full.
    """
    _refuse_object_store(settings)
    if folder.exists():
        raise CannotBackUp(f"{folder} exists; name a folder that does not")
    if not settings.data_dir.is_dir():
        raise CannotBackUp(f"there is no data directory {settings.data_dir}")
    part = folder.with_name(folder.name + ".partial")
    for _ in range(_ATTEMPTS):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            manifest = _copied(settings, part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if manifest is not None:
            manifest.write(part)
            _synced(part)
            part.rename(folder)
            return manifest
    shutil.rmtree(part, ignore_errors=True)
    raise CannotBackUp("galleries or datasets were deleted again and again meanwhile; try again later")


def restore(backup: Path, settings: Settings) -> BackupManifest:
    """Makes a service of a backup: its data directory, which must not exist or be empty, and its database.

    Every file is checked first. Raises NotABackup, which names every one that is not what was backed up, and
    CannotBackUp where the data directory or the database holds something already.
    """
    _refuse_object_store(settings)
    manifest = check(backup)
    target = settings.data_dir
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CannotBackUp(f"{target} is not empty; name a data directory that does not exist yet")
    part = target.with_name(target.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        for file in manifest.files:
            if file.path != _DATABASE:
                copy_file(backup / file.path, part / Path(file.path).relative_to(_DATA), part)
        copy_file(backup / _DATABASE, part / _DATABASE, part)
        _restore_database(settings, part, part / _DATABASE)
        _synced(part)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def _refuse_object_store(settings: Settings) -> None:
    if settings.storage_url is not None:
        raise CannotBackUp(
            f"{settings.storage_url} keeps the data, and is not copied here; use the object store's own versioning or "
            "replication, and the database's own backup, taken before it (docs/storage.md)"
        )


def check(backup: Path) -> BackupManifest:
    """Compares every file of a backup with its checksum. Raises NotABackup, which names every one that differs."""
    manifest = BackupManifest.read(backup)
    faults = [fault for file in manifest.files if (fault := _fault(backup, file)) is not None]
    if faults:
        raise NotABackup(f"{backup} is damaged, {len(faults)} of {len(manifest.files)} files: {'; '.join(faults)}")
    return manifest


def _fault(backup: Path, file: CopiedFile) -> str | None:
    """What is wrong with one file of a backup; None where it is what was backed up."""
    if not (backup / file.path).is_file():
        return f"{file.path} is missing"
    try:
        same = described(backup / file.path, backup) == file
    except OSError as error:
        return f"{file.path} cannot be read ({error.strerror})"
    return None if same else f"{file.path} is not what was backed up"


def _copied(settings: Settings, part: Path) -> BackupManifest | None:
    """The backup in a folder of its own; None where something that its rows name was deleted meanwhile."""
    created_at = datetime.now(UTC)
    database = Database(settings.sqlalchemy_url)
    try:
        if pending(database):
            raise CannotBackUp("the database is not at the newest schema; start the service once, or run migrate")
        rows = to_file(database, part / _DATABASE)
    finally:
        database.close()
    files: list[CopiedFile] = []
    passing = (settings.uploads_dir, settings.downloads_dir)
    for entry in sorted(settings.data_dir.iterdir()):
        if entry in passing or entry.name.startswith(settings.database_file.name):
            continue
        if entry.is_dir():
            files += copy_tree(entry, part / _DATA / entry.name, part)
        elif entry.is_file() and entry.suffix != _LOCK_SUFFIX:
            files.append(copy_file(entry, part / _DATA / entry.name, part))
    if not _is_whole(part):
        return None
    return BackupManifest(__version__, created_at, rows, (described(part / _DATABASE, part), *files))


def _is_whole(part: Path) -> bool:
    """Whether there are files of all that the rows name."""
    database = opened(part / _DATABASE)
    try:
        with database.read() as session:
            here = select(GalleryRow.folder).where(GalleryRow.store.is_(None))
            tables = [Path("galleries") / name / "items.lance" for name in session.scalars(here)]
            tables += [Path("datasets") / name / "rows.lance" for name in session.scalars(select(DatasetRow.folder))]
    finally:
        database.close()
    return all(Table.exists(part / _DATA / table) for table in tables)


def _restore_database(settings: Settings, part: Path, file: Path) -> None:
    if settings.database_url is None:
        file.rename(part / settings.database_file.name)
        return
    target = Database(settings.sqlalchemy_url)
    try:
        from_file(file, target)
    finally:
        target.close()
        file.unlink(missing_ok=True)


def _synced(folder: Path) -> None:
    """Has the disk hold the folders' entries, as it holds the files."""
    for path, _, _ in os.walk(folder):
        sync(Path(path))
