"""The pages of reports, with the charts that the worker drew."""

from collections.abc import Mapping
from typing import Any

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from app.artifacts.charts import Drawings, chart_key, open_drawings
from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.shared import SharedArtifacts
from app.settings import Settings
from app.upgrades.chart_drawing import ChartsNotDrawn, draw
from app.upgrades.report_charts import Spec
from app.upgrades.report_page import charts_of, page_of
from app.upgrades.schemas import Upgrade

log = structlog.get_logger(__name__)


class ReportPages:
    """Puts reports' pages together.

    The charts of an upgrade are kept once it was proved. Those of one that has only learned, or that an earlier release
    proved, are drawn for each page, in a process of their own, and for one page at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self._artifacts = settings.artifacts_dir
        self._shared = SharedArtifacts(settings)
        self._one = CapacityLimiter(1)

    async def page(self, upgrade: Upgrade, report: Mapping[str, Any], prefix: str) -> str:
        """The page as HTML; prefix: the path under which its reader finds us. Raises CorruptArtifact where what was
        kept is damaged, and ObjectStoreAway."""
        charts = {chart_key(chart): chart for chart in charts_of(report)}
        drawings = await run_sync(self._kept, upgrade.id, frozenset(charts))
        if lacking := [chart for key, chart in charts.items() if key not in drawings]:
            drawings = {**drawings, **await run_sync(_draw, upgrade.id, lacking, limiter=self._one)}
        return await run_sync(page_of, upgrade, report, prefix, drawings)

    def _kept(self, upgrade: str, wanted: frozenset[str]) -> Drawings:
        path = UpgradeArtifacts(self._artifacts, upgrade).charts
        kept = open_drawings(path)
        if wanted <= kept.keys():
            return kept
        self._shared.refresh()
        return open_drawings(path)


def _draw(upgrade: str, charts: list[Spec]) -> Drawings:
    """None where they cannot be drawn, which the page says in their place."""
    try:
        return draw(charts)
    except ChartsNotDrawn as error:
        log.error("charts could not be drawn", upgrade=upgrade, reason=str(error))
        return {}
