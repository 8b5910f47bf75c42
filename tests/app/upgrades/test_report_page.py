"""The report of compatible training, as JSON and as a page."""

from __future__ import annotations

import sys
from html.parser import HTMLParser

import pytest

from app.artifacts.charts import chart_key, save_drawings
from app.artifacts.folder import UpgradeArtifacts
from app.upgrades.report_page import PAGES, charts_of
from app.upgrades.states import UpgradeState
from tests.app.upgrades.report_example import GALLERY
from tests.app.upgrades.report_example import LEARNED as LEARNED_FORWARD
from tests.app.upgrades.training import LEARNED, Training
from tests.upgrade_rows import store_upgrade


class _Page(HTMLParser):
    """Whether every element is closed that must be, and what the page links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.loaded: list[str | None] = []
        self.charts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href"]
        self.loaded += [value for name, value in attrs if name in ("src", "data", "xlink:href") or tag == "link"]
        self.charts += tag == "figure"


def test_the_page_shows_the_training_curve_and_links_to_the_files(training: Training) -> None:
    upgrade = training.accepted(instance_weights=True)
    answer = training.client.get(f"/upgrades/{upgrade}/report", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    page = _Page(answer.text)
    rows = f"/upgrades/{upgrade}/rows?order="
    assert page.links == ["/models/new/artifact", f"{rows}outlier", f"{rows}suspect_label", f"{rows}old_model_poor"]
    assert page.charts == 2
    assert "81.5 %" in answer.text
    assert "12,345 parameters" in answer.text
    assert (page.loaded, answer.text.count("url("), answer.text.count("<script")) == ([], 0, 0), "self-contained"
    behind_a_proxy = {"Accept": "text/html", "X-Forwarded-Prefix": "/cw"}
    prefixed = _Page(training.client.get(f"/upgrades/{upgrade}/report", headers=behind_a_proxy).text)
    assert prefixed.links == [f"/cw{link}" for link in page.links]


def test_the_report_as_json_is_what_was_learned(training: Training) -> None:
    upgrade = training.start()
    assert training.client.get(f"/upgrades/{upgrade}/report").status_code == 409
    training.train(upgrade)
    assert training.client.get(f"/upgrades/{upgrade}/report").json() == {"learned": LEARNED}
    training.accept(upgrade)
    report = training.client.get(f"/upgrades/{upgrade}/report").json()
    assert [report[part] for part in ("galleries", "recommendation", "advice")] == [{}, {}, {}]


def test_a_curve_that_holds_for_every_order_is_said_to_do_so(training: Training) -> None:
    proofs = {"any": GALLERY | {"backfill": GALLERY["backfill"] | {"any_order": True}}, "ordered": GALLERY}
    database = training.crosswalk.database
    store_upgrade(database, "any", UpgradeState.EVALUATED, list(proofs), proofs=proofs, learned=LEARNED_FORWARD)
    text = training.client.get("/upgrades/any/report", headers={"Accept": "text/html"}).text
    assert text.count("the curve holds for every order") == 1


def test_what_thresholds_become_is_shown_with_what_they_keep(training: Training) -> None:
    store_upgrade(training.crosswalk.database, "any", UpgradeState.EVALUATED, [], proofs={}, learned=LEARNED_FORWARD)
    text = training.client.get("/upgrades/any/report", headers={"Accept": "text/html"}).text
    assert all(figure in text for figure in ("0.8125", "0.6875", "10.1", "9.8", "71.0 %", "-0.9 to 0.99"))


@pytest.mark.parametrize(
    ("seconds", "phrase"),
    [(0.04, "0.0 s"), (119.0, "119.0 s"), (7_000.0, "116.7 min"), (90_000.0, "25.0 h"), (1e6, "11.6 d")],
)
def test_times_are_said_in_the_unit_that_suits_them(seconds: float, phrase: str) -> None:
    assert PAGES.filters["seconds"](seconds) == phrase


def test_what_is_unknown_is_a_dash() -> None:
    assert {PAGES.filters[name](None) for name in ("percent", "seconds", "bytes")} == {"–"}


def test_the_one_thing_to_know_comes_before_everything_else_of_a_gallery(training: Training) -> None:
    earlier = {name: value for name, value in GALLERY.items() if name != "recommendation"}
    store_upgrade(
        training.crosswalk.database,
        "told",
        UpgradeState.EVALUATED,
        ["shop", "earlier"],
        learned=LEARNED_FORWARD,
        proofs={"shop": GALLERY, "earlier": earlier},
        reason=GALLERY["reason"],
    )
    said = GALLERY["recommendation"]
    report = training.client.get("/upgrades/told/report").json()
    assert report["recommendation"] == {"shop": said}, "an earlier release gave none"
    text = training.client.get("/upgrades/told/report", headers={"Accept": "text/html"}).text
    bet = said["leaning"]["sentence"]
    in_order = ("Gallery shop", said["sentence"], bet, said["costs"], "<table", "Gallery earlier")
    places = [text.index(one) for one in in_order]
    assert places == sorted(places)
    assert text.count(GALLERY["reason"]) == 2, "each gallery's own, and not once more at the top"
    assert text.count("(until it is told)") == text.count("(do this)") == 1
    assert _Page(text).charts == 2 * 4 + 2


def test_kept_charts_are_put_into_the_page_as_they_are(training: Training) -> None:
    artifacts = _told(training)
    keys = [chart_key(one) for one in charts_of({"learned": LEARNED_FORWARD, "galleries": {"shop": GALLERY}})]
    artifacts.folder.mkdir(parents=True)
    save_drawings(artifacts.charts, {key: f"<svg><text>kept {key}</text></svg>" for key in keys})
    text = _page_told(training)
    assert [text.count(f'<figure role="img" aria-label="{label}') for label in ("quality", "held-out")] == [2, 1]
    assert [key for key in keys if f"<svg><text>kept {key}</text></svg>" in text] == keys
    assert text.count("<svg") == len(keys) == 6


def test_charts_that_were_not_kept_are_drawn_and_never_by_the_gateways_own_process(training: Training) -> None:
    _told(training)
    assert _page_told(training).count("<svg") == 6
    assert "vl_convert" not in sys.modules, "the gateway is in this process"


def test_a_chart_of_another_specification_than_was_kept_is_drawn(training: Training) -> None:
    artifacts = _told(training)
    artifacts.folder.mkdir(parents=True)
    save_drawings(artifacts.charts, {chart_key({"of": "another release"}): "<svg>stale</svg>"})
    text = _page_told(training)
    assert text.count("<svg") == 6
    assert "stale" not in text


def test_a_page_whose_charts_cannot_be_drawn_says_so_and_has_the_figures(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    _told(training)
    monkeypatch.setattr(sys, "executable", "false")  # a program that ends with status 1
    text = _page_told(training)
    assert text.count("could not be drawn") == 6
    assert "<svg" not in text
    assert GALLERY["recommendation"]["sentence"] in text


def _told(training: Training) -> UpgradeArtifacts:
    """An upgrade with everything that a report draws; where its artifacts would be."""
    store_upgrade(
        training.crosswalk.database,
        "told",
        UpgradeState.EVALUATED,
        ["shop"],
        learned=LEARNED_FORWARD,
        proofs={"shop": GALLERY},
        reason=GALLERY["reason"],
    )
    return UpgradeArtifacts(training.crosswalk.settings.artifacts_dir, "told")


def _page_told(training: Training) -> str:
    answer = training.client.get("/upgrades/told/report", headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer.text
