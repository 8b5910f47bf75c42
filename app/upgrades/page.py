"""The report as a page to read: self-contained HTML, with bars and intervals drawn as SVG."""

from importlib import resources
from typing import Any

from jinja2 import Environment, select_autoescape

from app.upgrades.schemas import Upgrade


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


_PAGES = Environment(autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True)
_PAGES.filters["percent"] = _percent


def page_of(upgrade: Upgrade) -> str:
    """The whole page, for an upgrade that has a report."""
    template = _PAGES.from_string((resources.files("app.upgrades") / "report.html").read_text())
    report: dict[str, Any] = upgrade.report or {}
    return template.render(upgrade=upgrade, learned=report["learned"], galleries=report.get("galleries", {}))
