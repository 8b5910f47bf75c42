"""The list of a backup's files with their checksums: the last file written, and the first one read."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.backup.files import CopiedFile

NAME = "backup.json"
FORMAT = 1


class NotABackup(ValueError):
    """The folder is no backup, not a whole one, or of a newer format than this release reads."""


@dataclass(frozen=True)
class BackupManifest:
    """What a backup holds. rows: of each table of the database."""

    release: str
    created_at: datetime
    rows: dict[str, int]
    files: tuple[CopiedFile, ...]

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)

    def write(self, folder: Path) -> None:
        body = {
            "format": FORMAT,
            "release": self.release,
            "created_at": self.created_at.isoformat(),
            "rows": self.rows,
            "files": [asdict(file) for file in self.files],
        }
        (folder / NAME).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "BackupManifest":
        """Raises NotABackup."""
        try:
            body: dict[str, Any] = json.loads((folder / NAME).read_text(encoding="utf-8"))
            if body["format"] > FORMAT:
                raise NotABackup(f"{folder} was written by release {body['release']}, which is newer than this one")
            files = tuple(CopiedFile(**file) for file in body["files"])
            return cls(body["release"], datetime.fromisoformat(body["created_at"]), dict(body["rows"]), _inside(files))
        except OSError as error:
            raise NotABackup(f"{folder} is no backup: {NAME} cannot be read ({error.strerror})") from None
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, NotABackup):
                raise
            raise NotABackup(f"{folder} is no whole backup: {NAME} is damaged") from None


def _inside(files: Sequence[CopiedFile]) -> tuple[CopiedFile, ...]:
    """The files, none of which may lie outside the backup. Raises ValueError."""
    for file in files:
        path = Path(file.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(file.path)
    return tuple(files)
