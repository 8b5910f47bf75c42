"""Removing a folder that others may be reading."""

import secrets
import shutil
from pathlib import Path

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
