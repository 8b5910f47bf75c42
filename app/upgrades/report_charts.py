"""The charts of the report's page, as coordinates of SVG shapes: `WIDTH` wide, `HEIGHT` high, y downwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 1000, 240


@dataclass(frozen=True)
class Line:
    """A quantity drawn as a line. points: `x,y x,y …`, for an SVG polyline; first, last: its values at the ends."""

    name: str
    points: str
    first: float
    last: float


def lines(epochs: Sequence[Mapping[str, float | None]], *names: str) -> list[Line]:
    """A line for each of these names that some epoch has a value of; all share a scale from 0 to the largest value.

    epochs: what training measured in each epoch, by name; None, or no entry, where it measured nothing.
    """
    measured = {
        name: [(epoch, float(value)) for epoch, of in enumerate(epochs) if (value := of.get(name)) is not None]
        for name in names
    }
    top = max((value for values in measured.values() for _, value in values), default=0.0) or 1.0
    return [_line(name, values, len(epochs), top) for name, values in measured.items() if values]


def _line(name: str, values: Sequence[tuple[int, float]], epochs: int, top: float) -> Line:
    """values: (epoch, value) where there is one; epochs: how many there were; top: the value at the chart's top."""
    points = [
        (round(WIDTH * epoch / max(1, epochs - 1), 1), round(HEIGHT * (1 - value / top), 1)) for epoch, value in values
    ]
    return Line(name, " ".join(f"{x},{y}" for x, y in points), values[0][1], values[-1][1])


@dataclass(frozen=True)
class Curves:
    """Quality over the share of the gallery that is re-embedded, one line for each order of re-embedding.

    band: the 95 % interval of the first line, as the points of an SVG polygon; low, high: the qualities at the bottom
    and the top of the chart.
    """

    lines: list[Line]
    band: str
    low: float
    high: float


def curves(backfill: Mapping[str, Any]) -> Curves:
    """The predicted curves of a backfill, `backfill` in a gallery's report, as lines of one chart; the last is `fused`,
    by both models' queries, where that was measured."""
    points = {order: curve["points"] for order, curve in backfill["curves"].items()}
    if "fused" in backfill:
        points["fused"] = backfill["fused"]["points"]
    values = [point[end] for curve in points.values() for point in curve for end in ("low", "high")]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def xy(share: float, value: float) -> str:
        return f"{round(WIDTH * share, 1)},{round(HEIGHT * (1 - (value - low) / span), 1)}"

    drawn = [
        Line(order, " ".join(xy(p["share"], p["mean"]) for p in curve), curve[0]["mean"], curve[-1]["mean"])
        for order, curve in points.items()
    ]
    first = next(iter(points.values()))
    edge = [xy(p["share"], p["high"]) for p in first] + [xy(p["share"], p["low"]) for p in reversed(first)]
    return Curves(drawn, " ".join(edge), low, high)


@dataclass(frozen=True)
class AlphaLines:
    """Quality over the weight α of the new query, from 0 to 1: candidates scored `in full`, and `pushed` into the old
    index where that is possible. low, high: the qualities at the bottom and the top of the chart."""

    lines: list[Line]
    low: float
    high: float


def alpha_lines(fused: Mapping[str, Any]) -> AlphaLines:
    """The curve over α, `fused` in a gallery's report, as lines of one chart."""
    curve = fused["curve"]
    values = {
        name: [(point["alpha"], point[key]) for point in curve if point[key] is not None]
        for name, key in (("in full", "exact"), ("pushed", "pushed"))
    }
    every = [value for points in values.values() for _, value in points]
    low, high = min(every), max(every)
    span = (high - low) or 1.0
    return AlphaLines(
        [
            Line(
                name,
                " ".join(f"{round(WIDTH * a, 1)},{round(HEIGHT * (1 - (v - low) / span), 1)}" for a, v in points),
                points[0][1],
                points[-1][1],
            )
            for name, points in values.items()
            if points
        ],
        low,
        high,
    )


@dataclass(frozen=True)
class Dot:
    """A point at (x, y), and its 95 % interval from `top` down to `bottom`, in the coordinates of the chart."""

    x: float
    y: float
    top: float
    bottom: float


def reliability(bins: Sequence[Mapping[str, Any]]) -> list[Dot]:
    """Observed over expected error, a dot for each bin of rows; both axes go from 0 to the largest value of either.

    bins: as the report has them, each with `expected` and with `observed`: `mean`, `low` and `high`.
    """
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
