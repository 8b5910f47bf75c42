"""What a verification found, as plain data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FindingKind = Literal["damaged", "missing", "disagrees", "leftover", "unsealed", "unchecked"]
FindingRemedy = Literal["restore", "rebuild", "remove", "seal", "retry"]


@dataclass(frozen=True)
class IndexedGeneration:
    """A generation by its gallery and number, whose vectors and index can be made anew from the items."""

    gallery: str
    number: int


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    kind: `damaged` files are not what was written; `missing` ones are named by the database and not there; what
    `disagrees` is there and whole, but not of one mind; a `leftover` is named by nothing any more, and `unsealed` files
    have no checksum yet, which are no faults; what is `unchecked` cannot be looked at, since a server is away. subject:
    whose it is ("gallery faq"). remedy: `restore` from a backup, since nothing else holds it; `retry` later; the
    others, `repair` does: `rebuild` a generation's vectors and index, `remove`, `seal`.
    """

    kind: FindingKind
    subject: str
    path: Path
    what: str
    remedy: FindingRemedy
    generation: IndexedGeneration | None = None

    @property
    def fault(self) -> bool:
        """Whether something is wrong."""
        return self.kind not in ("leftover", "unsealed")

    def line(self) -> str:
        """The finding on one line."""
        return f"{self.kind}  {self.subject}: {self.what} [{self.path}]; {self.remedy}"
