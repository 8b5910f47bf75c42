"""Folders that belong to nothing: what a crash left between writing files and writing their row, or the reverse."""

import time
from collections.abc import Iterator
from pathlib import Path

from app.composition import Crosswalk
from app.maintenance.findings import Finding

YOUNG_SECONDS = 300
"""What was changed within this time may be about to get its row, or to be pointed at."""


def orphan_findings(crosswalk: Crosswalk) -> Iterator[Finding]:
    """Folders that nothing in the database names. They are listed before the database is read."""
    settings = crosswalk.settings
    galleries, datasets = _inside(settings.galleries_dir), _inside(settings.datasets_dir)
    artifacts = _inside(settings.artifacts_dir)
    derived = {path: [*_inside(path / "generations"), *_indexes(path / "indexes")] for path in galleries}
    infos = {settings.galleries_dir / info.folder: info for info in crosswalk.galleries.every()}
    stored = set(crosswalk.datasets.folders().values())
    runs = {crossing.upgrade for crossing in crosswalk.accepted_crossings.every()} | set(crosswalk.encoders.runs())
    yield from _orphans("galleries", [path for path in galleries if path not in infos])
    yield from _orphans("datasets", [path for path in datasets if path not in stored])
    yield from _orphans("artifacts", [path for path in artifacts if path.name not in runs])
    for folder, info in infos.items():
        wanted = {folder / "indexes" / str(n) / str(made.index_name) for n, made in info.generations.items()}
        for number in info.generations:
            table = folder / "generations" / f"{number}.lance"
            wanted |= {table, table.with_name(f"{table.name}.sha256")}
        yield from _orphans(f"gallery {info.id}", [path for path in derived.get(folder, []) if path not in wanted])


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _indexes(folder: Path) -> list[Path]:
    return [index for number in _inside(folder) for index in _inside(number)]


def _orphans(subject: str, paths: list[Path]) -> Iterator[Finding]:
    for path in paths:
        if path.exists() and time.time() - _changed(path) > YOUNG_SECONDS:
            yield Finding("orphan", subject, path, "nothing names this folder", "remove")


def _changed(path: Path) -> float:
    """When a folder, or something in it, was last changed."""
    times = [path.lstat().st_mtime]
    for inside in path.rglob("*"):
        try:
            times.append(inside.lstat().st_mtime)
        except FileNotFoundError:  # gone meanwhile
            times.append(time.time())
    return max(times)
