"""The charts of the report's page: axes with numbers, and what was measured where it belongs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from app.upgrades.report_charts import (
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

CHARTS: dict[str, tuple[Callable[[], Markup], set[str], set[str]]] = {
    "metrics": (lambda: metrics_chart(METRICS), {"cmc@1", "map"}, {"quality"}),
    "alpha": (
        lambda: alpha_chart(ALPHA),
        {"0%", "100%", "in full", "pushed"},
        {"weight of the new query: 0 is the old search, 1 the crossing", "cmc@1 of held-out queries"},
    ),
    "backfill": (
        lambda: backfill_chart(BACKFILL),
        {"0%", "100%", "uncertainty", "class mean distance", "fused"},
        {"share of the gallery re-embedded", "cmc@1"},
    ),
    "flips": (lambda: flips_chart(FLIPS), {"covered", "not covered", "0", "lost", "won"}, {"queries lost and won"}),
    "learning": (lambda: learning_chart(LEARNING, "recall@10"), set(), {"pairs learned from", "held-out recall@10"}),
    "loss": (lambda: loss_chart(EPOCHS), {"1", "2", "3", "loss", "influence loss"}, {"epoch", "loss"}),
    "held out": (
        lambda: held_out_chart(EPOCHS),
        {"1", "3", "new queries, old vectors", "new queries, new vectors"},
        {"epoch", "right on rows held out"},
    ),
    "reliability": (
        lambda: reliability_chart(RELIABILITY),
        set(),
        {"squared error expected", "squared error observed"},
    ),
}


def texts(svg: Markup) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_has_axes_with_numbers_and_names_and_loads_nothing(name: str) -> None:
    draw, labels, titles = CHARTS[name]
    svg = draw()
    written = texts(svg)
    assert labels <= set(written)
    assert titles <= set(written)
    assert sum(text.strip("−-%").replace(".", "").replace(",", "").isdecimal() for text in written) >= 4
    assert not any(banned in svg for banned in ("<script", "<image", "url(", "style=", "NaN"))


def test_what_was_never_measured_is_not_drawn() -> None:
    assert loss_chart([]) == held_out_chart([{"loss": 1.0, "cross": None}]) == flips_chart([]) == ""
    assert "pushed" not in texts(alpha_chart(ALPHA | {"curve": [p | {"pushed": None} for p in ALPHA["curve"]]}))
    assert "fused" not in texts(backfill_chart({name: v for name, v in BACKFILL.items() if name != "fused"}))


def test_a_point_is_drawn_as_far_along_as_its_value_says() -> None:
    """Read back from the drawing: the corners of the line lie on the axis where its values do."""
    curve: list[dict[str, Any]] = [
        {"alpha": a, "exact": e, "pushed": None} for a, e in ((0, 0.5), (0.5, 0.9), (1, 0.7))
    ]
    root = ElementTree.fromstring(alpha_chart({"metric": "cmc@1", "alpha": 0.5, "curve": curve}))
    (line,) = [path for group in root.iter() if "mark-line" in group.get("class", "") for path in group]
    corners = [tuple(map(float, one.split(","))) for one in line.get("d", "").strip("M").split("L")]
    (x0, y0), (x1, y1), (x2, y2) = corners
    assert x1 == pytest.approx((x0 + x2) / 2)
    assert y0 - y2 == pytest.approx((y0 - y1) / 2), "0.7 is halfway from 0.5 to 0.9, and up is better"
    assert y0 > y1


def test_a_name_of_the_users_is_text_and_nothing_else() -> None:
    flips = [{"stratum": "<script>alert(1)</script>", "negative": 1, "positive": 2, "queries": 9}]
    svg = flips_chart(flips)
    assert "<script" not in svg
    assert "<script>alert(1)</script>" in texts(svg)


def test_the_gateway_starts_without_what_draws() -> None:
    program = "import sys, app.main; sys.exit('vl_convert' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
