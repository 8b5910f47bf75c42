"""The report of compatible training, as JSON and as a page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from app.upgrades.report_charts import HEIGHT, WIDTH, alpha_lines, curves, lines, reliability
from app.upgrades.report_page import PAGES
from tests.app.upgrades.training import LEARNED, Training


class _Page(HTMLParser):
    """Whether every element is closed that must be, and what the page links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.curves = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href"]
        self.curves += tag == "polyline"


def test_the_page_shows_the_training_curve_and_links_to_the_files(training: Training) -> None:
    upgrade = training.accepted(instance_weights=True)
    answer = training.client.get(f"/upgrades/{upgrade}/report", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    page = _Page(answer.text)
    rows = f"/upgrades/{upgrade}/rows?order="
    assert page.links == ["/models/new/artifact", f"{rows}outlier", f"{rows}suspect_label", f"{rows}old_model_poor"]
    assert page.curves == 4
    assert "81.5 %" in answer.text
    assert "12,345 parameters" in answer.text
    assert "http" not in answer.text, "the page is self-contained"
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
    assert (report["galleries"], report["advice"]) == ({}, {})


def test_a_line_spans_the_epochs_and_the_largest_value_is_at_the_top() -> None:
    (one, two) = lines([{"a": 4.0, "b": 1.0}, {"a": 2.0, "b": None}, {"a": 0.0, "b": 3.0}], "a", "b", "c")
    assert (one.name, two.name) == ("a", "b")
    assert one.points == f"0.0,0.0 {WIDTH / 2},{HEIGHT / 2} {float(WIDTH)},{float(HEIGHT)}"
    assert two.points == f"0.0,{HEIGHT * 0.75} {float(WIDTH)},{HEIGHT * 0.25}"
    assert (one.first, one.last, two.last) == (4.0, 0.0, 3.0)


@pytest.mark.parametrize("epochs", [[], [{"a": None}]])
def test_what_was_never_measured_is_not_drawn(epochs: list[dict[str, None]]) -> None:
    assert lines(epochs, "a") == []


def test_one_epoch_is_a_point() -> None:
    assert [line.points for line in lines([{"a": 2.0}], "a")] == ["0.0,0.0"]


def _point(share: float, mean: float) -> dict[str, float]:
    return {"share": share, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def test_a_backfill_is_drawn_between_the_lowest_and_the_highest_of_all_its_intervals() -> None:
    drawn = curves(
        {
            "curves": {
                "uncertainty": {"points": [_point(0, 0.5), _point(1, 0.9)]},
                "random": {"points": [_point(0, 0.5), _point(1, 0.7)]},
            }
        }
    )
    assert (drawn.low, drawn.high) == (0.4, 1.0)
    first, second = drawn.lines
    assert (first.name, first.first, first.last, second.last) == ("uncertainty", 0.5, 0.9, 0.7)
    assert first.points == f"0,{HEIGHT * 5 / 6} {WIDTH},{HEIGHT * 1 / 6}"
    assert drawn.band.split() == [f"0,{HEIGHT * 4 / 6}", f"{WIDTH},0.0", f"{WIDTH},{HEIGHT * 2 / 6}", f"0,{HEIGHT}.0"]


def test_a_backfill_searched_by_both_models_queries_is_drawn_last() -> None:
    points = [_point(0, 0.5), _point(1, 0.9)]
    drawn = curves({"curves": {"uncertainty": {"points": points}}, "fused": {"points": points}})
    assert [line.name for line in drawn.lines] == ["uncertainty", "fused"]


def test_qualities_over_alpha_share_one_scale_and_what_is_not_pushed_is_not_drawn() -> None:
    curve = [{"alpha": a, "exact": e, "pushed": p} for a, e, p in ((0.0, 0.5, 0.5), (0.5, 0.9, 0.7), (1.0, 0.7, 0.6))]
    drawn = alpha_lines({"curve": curve})
    assert (drawn.low, drawn.high) == (0.5, 0.9)
    exact, pushed = drawn.lines
    assert exact.points == f"0.0,{HEIGHT}.0 {WIDTH / 2},0.0 {WIDTH}.0,{HEIGHT / 2}"
    assert (pushed.first, pushed.last) == (0.5, 0.6)
    (alone,) = alpha_lines({"curve": [point | {"pushed": None} for point in curve]}).lines
    assert alone == exact


def test_expected_and_observed_errors_share_one_scale() -> None:
    (low, high) = reliability(
        [
            {"rows": 9, "expected": 1.0, "observed": {"mean": 1.0, "low": 0.5, "high": 1.5}},
            {"rows": 9, "expected": 2.0, "observed": {"mean": 3.0, "low": 2.0, "high": 4.0}},
        ]
    )
    assert (low.x, low.y) == (WIDTH / 4, HEIGHT * 3 / 4)
    assert (high.x, high.y, high.top, high.bottom) == (WIDTH / 2, HEIGHT / 4, 0, HEIGHT / 2)
    assert reliability([]) == []


@pytest.mark.parametrize(
    ("seconds", "phrase"),
    [(0.04, "0.0 s"), (119.0, "119.0 s"), (7_000.0, "116.7 min"), (90_000.0, "25.0 h"), (1e6, "11.6 d")],
)
def test_times_are_said_in_the_unit_that_suits_them(seconds: float, phrase: str) -> None:
    assert PAGES.filters["seconds"](seconds) == phrase


def test_what_is_unknown_is_a_dash() -> None:
    assert {PAGES.filters[name](None) for name in ("percent", "seconds", "bytes")} == {"–"}
