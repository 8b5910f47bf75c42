"""The report as a page to read: self-contained HTML, with bars, intervals and curves drawn as SVG."""

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from app.upgrades.chart import lines
from app.upgrades.schemas import Upgrade


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


_PAGES = Environment(
    loader=PackageLoader("app.upgrades", "."),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
)
_PAGES.filters["percent"] = _percent
_PAGES.filters["lines"] = lines


def page_of(upgrade: Upgrade) -> str:
    """The whole page, for an upgrade that has a report."""
    report: dict[str, Any] = upgrade.report or {}
    return _PAGES.get_template("report.html").render(
        upgrade=upgrade, learned=report["learned"], galleries=report.get("galleries", {})
    )
