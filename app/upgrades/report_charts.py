"""The charts of a report, as Vega-Lite specifications with their data in them. `chart_drawing` draws them.

Source of the specifications: https://vega.github.io/vega-lite/docs/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

_WIDTH, _HEIGHT, _ROW = 760, 240, 40
_COLOURS = {
    "old queries, old gallery": "#8a94a3",
    "new queries, crossing": "#3b7fc4",
    "uncertainty": "#3b7fc4",
    "random": "#8a94a3",
    "class mean distance": "#c98a3b",
    "old model poor": "#7a5cc4",
    "fused": "#2f9e6e",
    "in full": "#2f9e6e",
    "pushed": "#8a94a3",
    "lost": "#d98c8c",
    "won": "#8cc49a",
    "loss": "#1c2430",
    "influence loss": "#8a94a3",
    "new queries, old vectors": "#3b7fc4",
    "new queries, new vectors": "#2f9e6e",
}
"""The colour of each line, by the name that the legend shows."""
_CONFIG: Spec = {
    "background": "transparent",
    "font": "Arial, Liberation Sans, sans-serif",
    "padding": {"left": 32, "right": 24, "top": 4, "bottom": 4},  # for a reader whose sans-serif is a wide one
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e3e7ee",
        "domainColor": "#8a94a3",
        "tickColor": "#8a94a3",
        "labelFontSize": 12,
        "tickCount": 8,
    },
    "legend": {"labelFontSize": 12, "labelLimit": 240, "columnPadding": 48},
}
_INTERVAL = {"field": "low", "type": "quantitative"}


def learned_charts(learned: Mapping[str, Any]) -> dict[str, Spec]:
    """The charts of what was learned, by the names that the page has for them; none of what was not measured.

    learned: that part of the report, of either strategy.
    """
    reliability = (learned.get("uncertainty") or {}).get("reliability") or []
    epochs = learned.get("epochs", [])
    return _there(
        learning=learning_chart(learned.get("learning_curve", []), learned.get("metric", "")),
        reliability=reliability_chart(reliability),
        loss=loss_chart(epochs),
        held_out=held_out_chart(epochs),
    )


def gallery_charts(proof: Mapping[str, Any]) -> dict[str, Spec]:
    """The charts of what was proved of a gallery, by the names that the page has for them; none of what was not
    measured. proof: that gallery's part of the report."""
    fused, backfill = proof.get("fused"), proof.get("backfill")
    return _there(
        metrics=metrics_chart(proof.get("metrics", [])),
        alpha=alpha_chart(fused) if fused else None,
        backfill=backfill_chart(backfill) if backfill else None,
        flips=flips_chart([one for one in proof.get("flips") or [] if one["queries"]]),
    )


def metrics_chart(metrics: Sequence[Mapping[str, Any]]) -> Spec | None:
    """Each metric of the old search and of the crossing: a point with its 95 % interval. metrics: as the report has
    them, each with `metric` and with `old_old` and `cross`: `mean`, `low` and `high`."""
    values = [
        {"metric": metric["metric"], "name": name, **{end: metric[key][end] for end in ("mean", "low", "high")}}
        for metric in metrics
        for key, name in (("old_old", "old queries, old gallery"), ("cross", "new queries, crossing"))
    ]
    place: Spec = {
        "y": {"field": "metric", "type": "nominal", "sort": None, "title": None},
        "yOffset": {"field": "name", "sort": None},
        "color": _colour(values),
    }
    quality = _share_axis("low", "quality")
    return _layered(
        values,
        [
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": place | {"x": quality, "x2": {"field": "high"}}},
            {
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": place | {"x": quality | _field("mean")},
            },
        ],
        height={"step": _ROW / 2},
    )


def alpha_chart(fused: Mapping[str, Any]) -> Spec | None:
    """Quality over the weight α of the new query; a dashed line where α was chosen. fused: as a gallery's report has
    it; what is not pushed is not drawn."""
    values = [
        {"alpha": point["alpha"], "mean": point[key], "name": name}
        for name, key in (("in full", "exact"), ("pushed", "pushed"))
        for point in fused["curve"]
        if point[key] is not None
    ]
    x = _share_axis("alpha", "weight of the new query: 0 is the old search, 1 the crossing", zero=True)
    chosen: Spec = {
        "data": {"values": [{"alpha": fused["alpha"]}]},
        "mark": {"type": "rule", "strokeDash": [6, 4], "color": "#5c6675"},
        "encoding": {"x": _field("alpha")},
    }
    return _layered(values, [_lines(values, x, _share_axis("mean", f"{fused['metric']} of held-out queries")), chosen])


def backfill_chart(backfill: Mapping[str, Any]) -> Spec | None:
    """Predicted quality over the share of the gallery re-embedded, a line for each order of re-embedding, the first
    with its 95 % interval. backfill: as a gallery's report has it; `fused`, by both models' queries, is drawn last."""
    curves = {order: curve["points"] for order, curve in backfill["curves"].items()}
    if "fused" in backfill:
        curves["fused"] = backfill["fused"]["points"]
    values = [{"name": _spoken(order), **point} for order, points in curves.items() for point in points]
    x = _share_axis("share", "share of the gallery re-embedded", zero=True)
    y = _share_axis("mean", backfill["metric"])
    first = _spoken(next(iter(curves)))
    band: Spec = {
        "transform": [{"filter": {"field": "name", "equal": first}}],
        "mark": {"type": "area", "opacity": 0.18, "color": _COLOURS[first]},
        "encoding": {"x": x, "y": y | _field("low"), "y2": {"field": "high"}},
    }
    return _layered(values, [band, _lines(values, x, y)])


def flips_chart(flips: Sequence[Mapping[str, Any]]) -> Spec | None:
    """Queries lost, to the left, and won, to the right, of each part of the gallery. flips: as the report has them."""
    values = [
        {"part": flip["stratum"], "name": name, "queries": sign * flip[key]}
        for flip in flips
        for name, key, sign in (("lost", "negative", -1), ("won", "positive", 1))
    ]
    axis = {"labelExpr": "format(abs(datum.value), ',')", "tickMinStep": 1}
    bar: Spec = {
        "mark": {"type": "bar", "height": 14},
        "encoding": {
            "y": {"field": "part", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 300}},
            "x": _field("queries") | {"title": "queries lost and won", "axis": axis},
            "color": _colour(values),
        },
    }
    return _layered(values, [bar], height={"step": _ROW})


def learning_chart(points: Sequence[Mapping[str, Any]], metric: str) -> Spec | None:
    """A metric on held-out pairs over the number of pairs learned from. points: each with `pairs` and the metric."""
    values = [{"pairs": point["pairs"], "mean": point[metric]} for point in points]
    line: Spec = {
        "mark": {"type": "line", "point": True, "color": "#3b7fc4"},
        "encoding": {
            "x": _field("pairs") | {"title": "pairs learned from"},
            "y": _share_axis("mean", f"held-out {metric}"),
        },
    }
    return _layered(values, [line])


def loss_chart(epochs: Sequence[Mapping[str, float | None]]) -> Spec | None:
    """Training's losses over the epochs."""
    values = _by_epoch(epochs, {"loss": "loss", "influence_loss": "influence loss"})
    return _layered(values, [_lines(values, _epochs(), _field("mean") | {"title": "loss"})])


def held_out_chart(epochs: Sequence[Mapping[str, float | None]]) -> Spec | None:
    """The cross test and the self test of training's held-out rows over the epochs; None where none was made."""
    values = _by_epoch(epochs, {"cross": "new queries, old vectors", "self": "new queries, new vectors"})
    return _layered(values, [_lines(values, _epochs(), _share_axis("mean", "right on rows held out"))])


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> Spec | None:
    """Observed over expected error, a point with its 95 % interval for each bin of rows; on the dashed line both are
    equal. bins: as the report has them, each with `expected` and with `observed`: `mean`, `low` and `high`."""
    values = [{"expected": one["expected"], **one["observed"]} for one in bins]
    largest = max((max(one["expected"], one["high"]) for one in values), default=0.0)
    x, y = _field("expected") | {"title": "squared error expected"}, {"title": "squared error observed"}
    equal: Spec = {
        "data": {"values": [{"expected": end, "mean": end} for end in (0.0, largest)]},
        "mark": {"type": "line", "strokeDash": [6, 4], "color": "#8a94a3"},
        "encoding": {"x": x, "y": _field("mean") | y},
    }
    interval: Spec = {"mark": "rule", "encoding": {"x": x, "y": _INTERVAL | y, "y2": {"field": "high"}}}
    point: Spec = {
        "mark": {"type": "point", "filled": True, "size": 50, "color": "#3b7fc4"},
        "encoding": {"x": x, "y": _field("mean") | y},
    }
    return _layered(values, [equal, interval, point])


def _there(**charts: Spec | None) -> dict[str, Spec]:
    return {name: chart for name, chart in charts.items() if chart is not None}


def _layered(values: Sequence[Mapping[str, Any]], layer: Sequence[Spec], height: int | Spec = _HEIGHT) -> Spec | None:
    """The chart of these layers; None where there is nothing to draw.

    values: rows of the data that all layers share, unless they have their own.
    """
    if not values:
        return None
    return {"data": {"values": values}, "width": _WIDTH, "height": height, "layer": layer, "config": _CONFIG}


def _lines(values: Sequence[Mapping[str, Any]], x: Spec, y: Spec) -> Spec:
    return {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y, "color": _colour(values)}}


def _colour(values: Sequence[Mapping[str, Any]]) -> Spec:
    """A colour for each name among the values, with a legend."""
    names = list(dict.fromkeys(value["name"] for value in values))
    scale = {"domain": names, "range": [_COLOURS[name] for name in names]}
    return {"field": "name", "type": "nominal", "title": None, "scale": scale, "legend": {"orient": "top"}}


def _field(name: str) -> Spec:
    return {"field": name, "type": "quantitative"}


def _share_axis(name: str, title: str, *, zero: bool = False) -> Spec:
    """Shares from 0 to 1, as percent; zero: whether the axis has to begin at 0."""
    return _field(name) | {"title": title, "axis": {"format": ".1~%"}, "scale": {"zero": zero}}


def _epochs() -> Spec:
    return _field("epoch") | {"title": "epoch", "axis": {"format": "d", "tickMinStep": 1}, "scale": {"zero": False}}


def _by_epoch(epochs: Sequence[Mapping[str, float | None]], names: Mapping[str, str]) -> list[Spec]:
    """What was measured in each epoch, as rows; names: how what is measured is called, by its key."""
    return [
        {"epoch": number, "mean": value, "name": name}
        for key, name in names.items()
        for number, epoch in enumerate(epochs, 1)
        if (value := epoch.get(key)) is not None
    ]


def _spoken(order: str) -> str:
    return order.replace("_", " ")
