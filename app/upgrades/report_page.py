"""The report as a page to read: self-contained HTML, with its charts within it as SVG."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from app.artifacts.charts import Drawings, chart_key
from app.upgrades.report_charts import Spec, gallery_charts, learned_charts
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


def charts_of(report: Mapping[str, Any]) -> list[Spec]:
    """Every chart of a report's page."""
    galleries = report.get("galleries", {}).values()
    return [
        *learned_charts(report["learned"]).values(),
        *(one for g in galleries for one in gallery_charts(g).values()),
    ]


def page_of(upgrade: Upgrade, report: Mapping[str, Any], prefix: str, drawings: Drawings) -> str:
    """The whole page of an upgrade and its report as HTML.

    prefix: the path under which its reader finds us. drawings: of `charts_of` the report; of a chart that is not among
    them the page says that it could not be drawn.
    """

    def drawn(charts: Mapping[str, Spec]) -> dict[str, Markup | None]:
        svgs = {name: drawings.get(chart_key(chart)) for name, chart in charts.items()}
        return {name: None if svg is None else Markup(svg) for name, svg in svgs.items()}  # its texts are escaped

    galleries = report.get("galleries", {})
    return PAGES.get_template("report.html").render(
        upgrade=upgrade,
        learned=report["learned"],
        galleries=galleries,
        prefix=prefix,
        charts={
            "learned": drawn(learned_charts(report["learned"])),
            "galleries": {name: drawn(gallery_charts(proof)) for name, proof in galleries.items()},
        },
    )
