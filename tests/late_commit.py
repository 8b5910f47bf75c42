"""A writer of a Lance table who commits after the table was removed."""

from collections.abc import Callable
from pathlib import Path

import lance


def late_commit(table: Path) -> Callable[[], object]:
    """What makes a part of a removed table anew: the commit of rows that were written while it was there. The table
    has a row at least."""
    opened = lance.dataset(str(table))
    written = lance.fragment.write_fragments(opened.head(1), opened)
    operation = lance.LanceOperation.Append(written)
    return lambda: lance.LanceDataset.commit(opened, operation, read_version=opened.version)
