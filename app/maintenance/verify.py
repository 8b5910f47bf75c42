"""Compares the database, the store, the indexes and the artifacts with one another and with their checksums.

On the data of a running service too: nothing is written, every comparison is made at one version of the items, and
what changes while it is looked at is looked at again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import make_url

from app.composition import Crosswalk
from app.datasets.info import DatasetInfo
from app.leftovers import leftovers
from app.maintenance.artifact_checks import artifact_findings
from app.maintenance.findings import Finding
from app.maintenance.gallery_checks import gallery_findings
from app.maintenance.table_checks import table_findings
from app.problems import DamagedFile, NotFound
from app.storage.lance_table import Table, TableGone

_LOOKS = 3

Seen = TypeVar("Seen")


def verify(crosswalk: Crosswalk) -> Iterator[Finding]:
    """Everything that is not as it should be, as it is found. The database must be at the newest schema."""
    damage = list(_database(crosswalk))
    yield from damage
    if damage:
        return  # what it says of everything else cannot be relied on
    for info in crosswalk.galleries.every():
        look = partial(crosswalk.galleries.info, info.id)
        yield from _settled(look, partial(gallery_findings, crosswalk))
    for dataset in crosswalk.datasets.every():
        look_up = partial(crosswalk.datasets.info, dataset.id)
        yield from _settled(look_up, partial(_dataset, crosswalk.settings.datasets_dir))
    yield from artifact_findings(crosswalk)
    for path in leftovers(crosswalk):
        of = path.relative_to(crosswalk.settings.data_dir).parts[0]
        yield Finding("leftover", of, path, "nothing names this any more", "remove")


def _dataset(root: Path, dataset: DatasetInfo) -> Iterator[Finding]:
    yield from table_findings(f"dataset {dataset.id}", root / dataset.folder / "rows.lance")
    if Table.exists(queries := root / dataset.folder / "queries.lance"):
        yield from table_findings(f"queries of dataset {dataset.id}", queries)


def _settled(look: Callable[[], Seen], check: Callable[[Seen], Iterator[Finding]]) -> list[Finding]:
    """The findings about something that was the same before and after it was checked; none where it was deleted."""
    findings: list[Finding] = []
    try:
        for number in range(1, _LOOKS + 1):
            before = look()
            try:
                findings = list(check(before))
            except TableGone:  # which the next look tells the reason of
                if number == _LOOKS:
                    raise
                continue
            if not findings or look() == before:
                break
    except NotFound:
        return []
    return findings


def _database(crosswalk: Crosswalk) -> Iterator[Finding]:
    """SQLite keeps no checksums, but finds damage by how pages refer to one another. PostgreSQL looks for itself."""
    url = make_url(crosswalk.database.url)
    if url.get_backend_name() != "sqlite":
        return
    try:
        with crosswalk.database.read() as session:
            said = session.connection().exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            broken = session.connection().exec_driver_sql("PRAGMA foreign_key_check").all()
    except DamagedFile as damage:
        said, broken = damage.detail, []
    if said != "ok":
        yield Finding("damaged", "database", Path(str(url.database)), str(said), "restore")
    elif broken:
        what = f"{len(broken)} rows refer to rows that are not there, first one of {broken[0][0]}"
        yield Finding("damaged", "database", Path(str(url.database)), what, "restore")
