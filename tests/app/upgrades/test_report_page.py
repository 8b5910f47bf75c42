"""The report of compatible training, as JSON and as a page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from app.upgrades.report_page import PAGES
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
    places = [text.index(one) for one in ("Gallery shop", said["sentence"], said["costs"], "<table", "Gallery earlier")]
    assert places == sorted(places)
    assert text.count(GALLERY["reason"]) == 2, "each gallery's own, and not once more at the top"
    assert text.count("(until it is told)") == text.count("(do this)") == 1
    assert _Page(text).charts == 2 * 4 + 2
