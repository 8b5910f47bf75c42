"""Removing a folder that others may be reading, or writing."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.problems import NotFound

REMOVED = ".removed"
"""What the name of a folder that is being removed ends in; it begins with a dot."""


def remove_folder(folder: Path) -> None:
    """Removes a folder with all that is in it, if it is there. Whoever reads it meanwhile finds it whole or not at all:
    it is renamed first. A process that dies in between leaves the renamed folder, a leftover that nothing names."""
    renamed = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{REMOVED}")
    try:
        folder.rename(renamed)
    except OSError:  # not there, or of a kind of file system that does not rename folders
        renamed = folder
    shutil.rmtree(renamed, ignore_errors=True)


@contextmanager
def removed_with(owner: str, is_there: Callable[[], bool], destroy: Callable[[], object]) -> Iterator[None]:
    """While files are written that belong to something which others may delete meanwhile.

    A commit makes the folders that it needs. So one that ends after these were removed makes some of the files anew,
    which nothing names: `destroy` removes them. owner: what they belong to, in words. Raises NotFound where it is not
    there by the end, whatever else went wrong.
    """
    try:
        yield
    finally:
        if not is_there():
            destroy()
            raise NotFound(f"{owner} was deleted while it was written to.")
