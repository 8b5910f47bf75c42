"""Lines over epochs, as the points of an SVG polyline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 240


@dataclass(frozen=True)
class Line:
    """One quantity over the epochs in which it is known; points: as an SVG polyline takes them."""

    name: str
    points: str
    first: float
    last: float


def lines(epochs: Sequence[Mapping[str, float | None]], *names: str) -> list[Line]:
    """The quantities of these names that were measured, drawn from 0 to the largest value of them all."""
    known = {
        name: [(place, float(value)) for place, epoch in enumerate(epochs) if (value := epoch.get(name)) is not None]
        for name in names
    }
    top = max((value for values in known.values() for _, value in values), default=0.0) or 1.0
    return [_line(name, values, len(epochs), top) for name, values in known.items() if values]


def _line(name: str, values: Sequence[tuple[int, float]], epochs: int, top: float) -> Line:
    points = [
        (round(WIDTH * place / max(1, epochs - 1), 1), round(HEIGHT * (1 - value / top), 1)) for place, value in values
    ]
    return Line(name, " ".join(f"{x},{y}" for x, y in points), values[0][1], values[-1][1])
