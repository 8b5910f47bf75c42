"""Whether one Lance table is there and its files are what was written."""

from collections.abc import Iterator
from pathlib import Path

from app.maintenance.findings import Finding, FindingRemedy, IndexedGeneration
from app.problems import DamagedFile
from app.storage.checksums import check_table, unsealed
from app.storage.lance_table import Table


def table_findings(
    subject: str,
    table: Path,
    *,
    remedy: FindingRemedy = "restore",
    generation: IndexedGeneration | None = None,
) -> Iterator[Finding]:
    """What is wrong with the newest version of a table; unless it is a generation's, nothing can make it anew."""
    if not Table.exists(table):
        yield Finding("missing", subject, table, "the table is not there", remedy, generation)
        return
    try:
        check_table(table)
    except DamagedFile as damage:
        yield Finding("damaged", subject, table, damage.detail.rstrip("."), remedy, generation)
        return
    if bare := unsealed(table):
        yield Finding("unsealed", subject, table, f"{bare} files have no checksum yet", "seal")
