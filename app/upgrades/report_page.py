"""The report as a page to read: self-contained HTML, with its charts within it as SVG."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

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
from app.upgrades.schemas import Upgrade


def _percent(value: object) -> str:
    """A share from 0 to 1 in percent; a dash where it is unknown."""
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "–"


def _seconds(value: object) -> str:
    """A duration in the largest unit of which it has two, or in seconds; a dash where it is unknown."""
    if not isinstance(value, int | float):
        return "–"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


def _bytes(value: object) -> str:
    """A size in the largest decimal unit of which it has one; a dash where it is unknown."""
    if not isinstance(value, int | float):
        return "–"
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


PAGES = Environment(
    loader=PackageLoader("app.upgrades", "."),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
)
PAGES.filters["percent"] = _percent
PAGES.filters["seconds"] = _seconds
PAGES.filters["bytes"] = _bytes
PAGES.filters["metrics_chart"] = metrics_chart
PAGES.filters["alpha_chart"] = alpha_chart
PAGES.filters["backfill_chart"] = backfill_chart
PAGES.filters["flips_chart"] = flips_chart
PAGES.filters["learning_chart"] = learning_chart
PAGES.filters["loss_chart"] = loss_chart
PAGES.filters["held_out_chart"] = held_out_chart
PAGES.filters["reliability_chart"] = reliability_chart


def page_of(upgrade: Upgrade, report: Mapping[str, Any], prefix: str) -> str:
    """The whole page of an upgrade and its report as HTML; `prefix` is the path under which its reader finds us."""
    return PAGES.get_template("report.html").render(
        upgrade=upgrade, learned=report["learned"], galleries=report.get("galleries", {}), prefix=prefix
    )
