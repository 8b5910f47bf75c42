"""Backup and restore on the command line."""

import sys
from collections.abc import Callable
from pathlib import Path

import typer

from app.backup.database_copy import NotEmpty
from app.backup.files import Vanished
from app.backup.manifest import BackupManifest, NotABackup
from app.backup.service import CannotBackUp, back_up, check, restore
from app.cli.settings import settings_or_end


def take(folder: Path, data_dir: Path | None) -> None:
    """Takes a backup, and says of what."""
    settings = settings_or_end(data_dir)
    _tell(_or_exit(lambda: back_up(settings, folder)), f"backed up to {folder}")


def bring_back(folder: Path, data_dir: Path | None, *, only_check: bool) -> None:
    """Restores a backup, or only looks whether every file of it is what was backed up."""
    if only_check:
        _tell(_or_exit(lambda: check(folder)), "every file is what was backed up")
        return
    settings = settings_or_end(data_dir)
    _tell(_or_exit(lambda: restore(folder, settings)), f"restored to {settings.data_dir}")


def _or_exit(act: Callable[[], BackupManifest]) -> BackupManifest:
    try:
        return act()
    except (CannotBackUp, NotABackup, NotEmpty, Vanished) as error:
        print(f"Nothing was done: {error}.", file=sys.stderr)
    except OSError as error:
        print(f"Nothing was done: {error.strerror}: {error.filename}.", file=sys.stderr)
    raise typer.Exit(1)


def _tell(manifest: BackupManifest, what: str) -> None:
    tables = ("models", "galleries", "datasets", "upgrades")
    counts = ", ".join(f"{manifest.rows.get(table, 0)} {table}" for table in tables)
    size, moment = f"{manifest.nbytes / 2**20:.1f} MiB", f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"
    print(f"{len(manifest.files)} files, {size}, of {moment} ({counts}): {what}.")
