"""Where a table or a file lies: in a folder of this machine, or in an object store that several machines share."""

from dataclasses import dataclass
from pathlib import Path

VERSIONS = "_versions"
"""The folder in which a Lance table has a manifest for each of its versions."""


@dataclass(frozen=True)
class ObjectFolder:
    """A folder in an object store, which is the beginning that the keys of its objects have in common.

    url: `s3://bucket` or `s3://bucket/prefix/...`, without a slash at its end.
    """

    url: str

    def __truediv__(self, name: str) -> "ObjectFolder":
        return ObjectFolder(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


Location = Path | ObjectFolder
"""A folder of this machine, or one in an object store."""
