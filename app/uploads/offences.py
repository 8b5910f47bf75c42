"""The cells of a body that break a rule: the first few are told, with where they are and what is wrong."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from app.problems import InvalidRows

TOLD = 10
_ID_SHOWN = 80


@dataclass(frozen=True)
class Offence:
    """One cell that breaks a rule. Rows count from 0, in the body's order."""

    row: int
    id: str | None
    column: str
    message: str

    def __str__(self) -> str:
        name = "" if self.id is None else f" (id {self.id!r})"
        return f"row {self.row}{name}, column {self.column!r}: {self.message}"


class Offences:
    """Collects offences chunk by chunk, and refuses the body with the first of them."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], Offence] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, row: int, id: object, column: str, message: str) -> None:
        """Notes a cell; what is said first about a cell stays."""
        shown = id[:_ID_SHOWN].encode(errors="replace").decode() if isinstance(id, str) else None
        self._found.setdefault((row, column), Offence(row, shown, column, message))

    def settle(self) -> None:
        """Called after each chunk: keeps the first offences, and ends the reading once there are enough to tell."""
        self._found = dict(sorted(self._found.items())[:TOLD])
        if len(self._found) == TOLD:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Ends the reading where any cell broke a rule: raises InvalidRows, which names the first."""
        if not self._found:
            return
        offences = list(self._found.values())
        first, several = str(offences[0]), len(offences) > 1
        raise InvalidRows(
            f"{first[0].upper()}{first[1:]}. {'`errors` lists the first offending cells. ' if several else ''}"
            "Rows count from 0. Correct them and send the whole body again.",
            errors=[asdict(offence) for offence in offences],
        )


@dataclass(frozen=True)
class Chunk:
    """Where in the body a chunk of rows lies, so that an offence can name its row."""

    start: int
    ids: pa.Array | None
    offences: Offences

    def refuse(self, bad: np.ndarray, column: str, message: str | Callable[[int], str]) -> bool:
        """Notes the first rows that `bad` (n,) bool marks; whether there was any."""
        places = np.flatnonzero(bad)[:TOLD].tolist()
        for place in places:
            self.refuse_row(place, column, message if isinstance(message, str) else message(place))
        return bool(places)

    def written(
        self, column: str, cells: Iterable[Any], write: Callable[[Any], str | None], refusal: type[Exception]
    ) -> list[str | None]:
        """What `write` makes of each cell; None where it raises `refusal`, of which the first are noted."""
        texts: list[str | None] = []
        refused = 0
        for place, cell in enumerate(cells):
            try:
                texts.append(write(cell))
            except refusal as error:
                texts.append(None)
                refused += 1
                if refused <= TOLD:
                    self.refuse_row(place, column, str(error))
        return texts

    def refuse_row(self, place: int, column: str, message: str) -> None:
        name = None if self.ids is None else self.ids[place].as_py()
        self.offences.add(self.start + place, name, column, message)
