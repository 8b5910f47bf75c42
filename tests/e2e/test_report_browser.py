"""The report's page in a real browser that cannot reach the network: its own policy lets it show every chart."""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings
from app.storage.database import Database
from app.upgrades.states import UpgradeState
from tests.app.upgrades.report_example import GALLERY, LEARNED
from tests.e2e.browser import Browser
from tests.serving import serving
from tests.upgrade_rows import store_upgrade


def test_every_chart_is_seen_with_the_numbers_of_its_axes(browser: Browser, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with serving(settings) as client:
        database = Database(settings.sqlalchemy_url)
        store_upgrade(
            database, "told", UpgradeState.EVALUATED, ["shop"], learned=LEARNED, proofs={"shop": GALLERY}, reason="Why."
        )
        browser.page.goto(f"{client.base_url}/upgrades/told/report")
        charts = browser.page.locator("figure[role=img] > svg").all()
        assert len(charts) == 6
        for chart in charts:
            box = chart.bounding_box()
            assert box is not None
            assert box["width"] > 400
            assert box["height"] > 60
            numbers = [one for one in chart.locator("text").all_text_contents() if any(map(str.isdigit, one))]
            assert len(numbers) >= 4
        browser.page.screenshot(path=tmp_path / "report.png", full_page=True)
        assert (browser.foreign, browser.errors) == ([], [])
