"""Curves and bars of the report, as the points of SVG shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Curves:
    """Quality over the share re-embedded, one line for each order; `band`: the polygon of the first line's interval.

    low, high: the qualities at the bottom and the top of the chart.
    """

    lines: list[Line]
    band: str
    low: float
    high: float


def curves(backfill: Mapping[str, Any]) -> Curves:
    """The predicted curves of a backfill, the interval drawn for the first order of them."""
    points = {name: curve["points"] for name, curve in backfill["curves"].items()}
    values = [point[end] for curve in points.values() for point in curve for end in ("low", "high")]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(share: float, value: float) -> str:
        return f"{round(WIDTH * share, 1)},{round(HEIGHT * (1 - (value - low) / span), 1)}"

    drawn = [
        Line(name, " ".join(place(p["share"], p["mean"]) for p in curve), curve[0]["mean"], curve[-1]["mean"])
        for name, curve in points.items()
    ]
    first = next(iter(points.values()))
    edge = [place(p["share"], p["high"]) for p in first] + [place(p["share"], p["low"]) for p in reversed(first)]
    return Curves(drawn, " ".join(edge), low, high)


@dataclass(frozen=True)
class Dot:
    """A point with its vertical interval, in the coordinates of the chart."""

    x: float
    y: float
    top: float
    bottom: float


def reliability(bins: Sequence[Mapping[str, Any]]) -> list[Dot]:
    """Observed over expected error, each bin a dot; both axes reach from 0 to the largest value there is."""
    largest = max((max(b["expected"], b["observed"]["high"]) for b in bins), default=0.0) or 1.0

    def height(value: float) -> float:
        return round(HEIGHT * (1 - value / largest), 1)

    return [
        Dot(
            round(WIDTH * b["expected"] / largest, 1),
            height(b["observed"]["mean"]),
            height(b["observed"]["high"]),
            height(b["observed"]["low"]),
        )
        for b in bins
    ]
