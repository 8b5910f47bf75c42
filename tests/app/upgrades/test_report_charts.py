"""The charts of the report's page: axes with numbers, and what was measured where it belongs."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from app.artifacts.charts import chart_key
from app.upgrades.chart_drawing import ChartsNotDrawn, draw
from app.upgrades.report_charts import (
    Spec,
    alpha_chart,
    backfill_chart,
    flips_chart,
    held_out_chart,
    learning_chart,
    loss_chart,
    metrics_chart,
    reliability_chart,
)
from tests.app.upgrades.report_example import ALPHA, BACKFILL, EPOCHS, FLIPS, LEARNING, METRICS, RELIABILITY

CHARTS: dict[str, tuple[Spec | None, set[str], set[str]]] = {
    "metrics": (metrics_chart(METRICS), {"cmc@1", "map"}, {"quality"}),
    "alpha": (
        alpha_chart(ALPHA),
        {"0%", "100%", "in full", "pushed"},
        {"weight of the new query: 0 is the old search, 1 the crossing", "cmc@1 of held-out queries"},
    ),
    "backfill": (
        backfill_chart(BACKFILL),
        {"0%", "100%", "uncertainty", "class mean distance", "fused"},
        {"share of the gallery re-embedded", "cmc@1"},
    ),
    "flips": (flips_chart(FLIPS), {"covered", "not covered", "0", "lost", "won"}, {"queries lost and won"}),
    "learning": (learning_chart(LEARNING, "recall@10"), set(), {"pairs learned from", "held-out recall@10"}),
    "loss": (loss_chart(EPOCHS), {"1", "2", "3", "loss", "influence loss"}, {"epoch", "loss"}),
    "held out": (
        held_out_chart(EPOCHS),
        {"1", "3", "new queries, old vectors", "new queries, new vectors"},
        {"epoch", "right on rows held out"},
    ),
    "reliability": (
        reliability_chart(RELIABILITY),
        set(),
        {"squared error expected", "squared error observed"},
    ),
}


def texts(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def drawn(chart: Spec | None) -> str:
    assert chart is not None
    return draw([chart])[chart_key(chart)]


@pytest.fixture(scope="module")
def drawings() -> dict[str, str]:
    """Every chart, drawn at once, by its name."""
    charts = {name: chart for name, (chart, _, _) in CHARTS.items() if chart is not None}
    svgs = draw(list(charts.values()))
    return {name: svgs[chart_key(chart)] for name, chart in charts.items()}


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_has_axes_with_numbers_and_names_and_loads_nothing(name: str, drawings: dict[str, str]) -> None:
    _, labels, titles = CHARTS[name]
    svg = drawings[name]
    written = texts(svg)
    assert labels <= set(written)
    assert titles <= set(written)
    assert sum(text.strip("−-%").replace(".", "").replace(",", "").isdecimal() for text in written) >= 4
    assert not any(banned in svg for banned in ("<script", "<image", "url(", "style=", "NaN"))


def test_what_was_never_measured_is_not_drawn() -> None:
    assert loss_chart([]) is held_out_chart([{"loss": 1.0, "cross": None}]) is flips_chart([]) is None
    unpushed = alpha_chart(ALPHA | {"curve": [point | {"pushed": None} for point in ALPHA["curve"]]})
    unfused = backfill_chart({name: value for name, value in BACKFILL.items() if name != "fused"})
    assert unpushed is not None
    assert unfused is not None
    svgs = draw([unpushed, unfused])
    assert "pushed" not in texts(svgs[chart_key(unpushed)])
    assert "fused" not in texts(svgs[chart_key(unfused)])
    assert draw([]) == {}


def test_a_point_is_drawn_as_far_along_as_its_value_says() -> None:
    """Read back from the drawing: the corners of the line lie on the axis where its values do."""
    curve: list[dict[str, Any]] = [
        {"alpha": a, "exact": e, "pushed": None} for a, e in ((0, 0.5), (0.5, 0.9), (1, 0.7))
    ]
    root = ElementTree.fromstring(drawn(alpha_chart({"metric": "cmc@1", "alpha": 0.5, "curve": curve})))
    (line,) = [path for group in root.iter() if "mark-line" in group.get("class", "") for path in group]
    corners = [tuple(map(float, one.split(","))) for one in line.get("d", "").strip("M").split("L")]
    (x0, y0), (x1, y1), (x2, y2) = corners
    assert x1 == pytest.approx((x0 + x2) / 2)
    assert y0 - y2 == pytest.approx((y0 - y1) / 2), "0.7 is halfway from 0.5 to 0.9, and up is better"
    assert y0 > y1


def test_a_name_of_the_users_is_text_and_nothing_else() -> None:
    flips = [{"stratum": "<script>alert(1)</script>", "negative": 1, "positive": 2, "queries": 9}]
    svg = drawn(flips_chart(flips))
    assert "<script" not in svg
    assert "<script>alert(1)</script>" in texts(svg)


def test_charts_that_cannot_be_drawn_say_why() -> None:
    with pytest.raises(ChartsNotDrawn, match="Vega-Lite to SVG conversion failed"):
        draw([{"data": {"values": []}, "mark": "no such mark"}])
