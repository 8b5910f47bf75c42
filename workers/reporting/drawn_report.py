"""The charts of a report, drawn when it is written and kept with what the upgrade learned."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from app.artifacts.charts import save_drawings
from app.artifacts.folder import UpgradeArtifacts
from app.composition import Crosswalk
from app.upgrades.chart_drawing import ChartsNotDrawn, draw
from app.upgrades.report_page import charts_of
from workers.reporting.gallery_report import GalleryReport

_log = logging.getLogger(__name__)


def keep_charts(crosswalk: Crosswalk, upgrade: str, reports: Mapping[str, GalleryReport]) -> None:
    """Draws what the page of an upgrade shows, of what it learned and of the galleries that it was proved on.

    A verdict does not hang on a picture: where they cannot be drawn that is logged, and the gateway draws them for
    those that read the page.
    """
    written = crosswalk.upgrades.get(upgrade).report
    assert written is not None, "what is proved was learned before"
    report = {**written, "galleries": {name: one.to_json() for name, one in reports.items()}}
    try:
        drawings = draw(charts_of(report))
    except ChartsNotDrawn:
        _log.exception("the charts of upgrade %s could not be drawn", upgrade)
        return
    save_drawings(UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade).charts, drawings)
