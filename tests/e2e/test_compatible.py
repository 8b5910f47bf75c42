"""Compatible upgrades, seen from outside: a model trained here searches the untouched gallery, or is turned away."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models import embedding_model
from models.embedding_model import EmbeddingModel
from tests.e2e.browser import Browser
from tests.e2e.studio import Studio
from tests.e2e.user import Answer, checked, problem
from tests.worlds import Floats

TEXT = {
    "type": "bert",
    "config": {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 256,
    },
}
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Upgrades:
    """Upgrades started all at once: good, of shuffled old vectors, of texts (a dry run), of a broken picture, and for a
    gallery with labels that the dataset lacks."""

    good: tuple[Studio, str]
    shuffled: tuple[Studio, str]
    text: tuple[Studio, str]
    broken: tuple[Studio, str]
    foreign: tuple[Studio, str]


@pytest.fixture(scope="session")
def upgrades(client: httpx.Client) -> Upgrades:
    good, shuffled, text, broken, foreign = (Studio(client) for _ in range(5))
    for studio in (good, shuffled, text, broken, foreign):
        studio.put_gallery()
    good.put_rows(good.dataset, range(700), None)  # their old vectors are those of the items
    good.put_rows(good.dataset, range(700, 1500), good.pictures.old[700:1500])
    good.put_rows(good.evaluation, range(1500, 1797), good.queries.old)
    shuffled.with_shuffled_vectors().put_rows(shuffled.dataset, range(700, 1500), shuffled.pictures.old[700:1500])
    codes = text.pictures.codes
    words = [f"the number {NAMES[code]} was drawn, drawing {place}" for place, code in enumerate(codes[:700])]
    text.put_rows(text.dataset, range(700), None, text=words)
    pictures: list[Any] = list(broken.pictures.inputs[:60])
    pictures[33] = pictures[33][:40]
    broken.put_rows(broken.dataset, range(60), None, image=pictures)
    known = [place for place in range(1500) if codes[place] < 8]
    foreign.put_rows(foreign.dataset, known, foreign.pictures.old[known])
    return Upgrades(
        good=(good, good.train(evaluation=good.evaluation)),
        shuffled=(shuffled, shuffled.train(training={"epochs": 8})),
        text=(text, text.train(architecture=TEXT, dry_run=True, training={"epochs": 2, "image_size": None})),
        broken=(broken, broken.train(training={"epochs": 1})),
        foreign=(foreign, foreign.train(instance_weights=True, training={"epochs": 4})),
    )


@dataclass(frozen=True)
class CompatibleJourney:
    """The good one, to the end: what the gallery was and is, and the model as it was downloaded."""

    studio: Studio
    id: str
    upgraded: dict[str, Any]
    model: EmbeddingModel
    vectors: Floats
    old: Answer
    new: Answer
    generations: int


@pytest.fixture(scope="session")
def journey(upgrades: Upgrades, tmp_path_factory: pytest.TempPathFactory) -> CompatibleJourney:
    studio, upgrade = upgrades.good
    before = studio.search(studio.queries.old, studio.old, 5)
    upgraded = studio.reaches(upgrade, "active")
    path = tmp_path_factory.mktemp("downloaded") / "model.zip"
    path.write_bytes(studio.client.get(f"/models/{studio.new}/artifact").raise_for_status().content)
    model = embedding_model.load(path)
    vectors = model.embed(studio.queries.inputs)
    assert studio.search(studio.queries.old, studio.old, 5) == before
    return CompatibleJourney(
        studio,
        upgrade,
        upgraded,
        model,
        vectors,
        before,
        studio.search(vectors, studio.new, 5),
        len(studio.generations()),
    )


def test_new_queries_search_the_untouched_gallery_and_beat_the_old_model(journey: CompatibleJourney) -> None:
    s = journey.studio
    assert journey.new.route == "compatible"
    assert journey.new.exact
    assert journey.generations == 1
    old, new = s.right_of(s.queries.old, s.old), s.right_of(journey.vectors, s.new)
    assert new > old + 0.05
    (cmc,) = [one for one in journey.upgraded["report"]["galleries"][s.gallery]["metrics"] if one["metric"] == "cmc@1"]
    assert cmc["difference"]["low"] > 0
    assert cmc["cross"]["low"] <= new <= cmc["cross"]["high"]


def test_scores_are_distances_to_the_zero_padded_vectors(journey: CompatibleJourney) -> None:
    s = journey.studio
    padded = np.pad(s.pictures.old[:700], ((0, 0), (0, journey.vectors.shape[1] - s.pictures.old.shape[1])))
    expected = np.sort(np.linalg.norm(journey.vectors[:, None] - padded[None], axis=2), axis=1)[:, :5]
    assert np.allclose(journey.new.scores, expected, rtol=1e-3)


def test_the_trained_model_is_registered_and_says_what_it_learned_from(journey: CompatibleJourney) -> None:
    s = journey.studio
    model = s.get(f"/models/{s.new}")
    assert (model["trained_by"], model["compatible_with"], model["dimension"]) == (journey.id, s.old, 32)
    card = journey.model.card
    assert card.compatible_with is not None
    assert (card.id, card.compatible_with.model, card.trained_on.dataset) == (s.new, s.old, s.dataset)
    assert card.trained_on.rows == journey.upgraded["report"]["learned"]["rows"] == 1350
    assert len(card.trained_on.fingerprint) == 64


def test_rolling_back_closes_the_route_and_activating_opens_it(journey: CompatibleJourney) -> None:
    s = journey.studio
    query = {"gallery": s.gallery, "model": s.new, "vectors": journey.vectors[:1].tolist()}
    s.post(f"/upgrades/{journey.id}/rollback")
    refusal = problem(s.client.post("/search", json=query), 409, "no-route")
    assert journey.id in refusal["detail"]
    s.post(f"/upgrades/{journey.id}/activate")
    assert s.search(journey.vectors, s.new, 5) == journey.new


def test_the_gallery_is_bit_for_bit_as_before_training_and_after_going_back_and_forth(
    journey: CompatibleJourney,
) -> None:
    s = journey.studio
    s.post(f"/upgrades/{journey.id}/rollback")
    s.post(f"/upgrades/{journey.id}/activate")
    assert s.search(s.queries.old, s.old, 5) == journey.old
    assert s.generations().keys() == {1}
    for place in range(0, 700, 100):
        item = s.item(s.ids[place])
        assert np.array_equal(np.array(item["embeddings"][s.old], np.float32), s.pictures.old[place])
        assert list(item["embeddings"]) == [s.old]


def test_report_page_is_whole_in_a_browser_and_reaches_for_nothing_else(
    journey: CompatibleJourney, browser: Browser, tmp_path: Path
) -> None:
    s, page = journey.studio, browser.page
    page.goto(f"{s.client.base_url}/upgrades/{journey.id}/report")
    text = page.locator("body").inner_text()
    for expected in (s.old, s.new, s.gallery, "random_walk", "compatible"):
        assert expected in text
    curves = page.locator("figure svg .mark-line path")
    assert curves.count() == 4
    for curve in curves.all():
        assert (box := curve.bounding_box()) is not None
        assert box["width"] > 200
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    links = [link.get_attribute("href") for link in page.locator("a").all()]
    assert f"/models/{s.new}/artifact" in links
    assert all(s.client.get(link).is_success for link in links if link and link.startswith("/"))
    assert len(page.screenshot(path=tmp_path / "report.png", full_page=True)) > 20_000
    assert (browser.foreign, browser.errors) == ([], [])


def test_old_vectors_that_were_shuffled_are_rejected(upgrades: Upgrades) -> None:
    studio, upgrade = upgrades.shuffled
    rejected = studio.reaches(upgrade, "rejected")
    assert "old model" in rejected["reason"]
    query = {"gallery": studio.gallery, "model": studio.new, "vectors": [[0.0] * 31 + [1.0]]}
    problem(studio.client.post("/search", json=query), 409, "no-route")
    assert studio.get(f"/models/{studio.new}")["compatible_with"] is None
    assert studio.generations().keys() == {1}


def test_texts_are_trained_on_with_a_tokenizer_of_their_own_and_a_dry_run_only_reports(
    upgrades: Upgrades, tmp_path: Path
) -> None:
    studio, upgrade = upgrades.text
    evaluated = studio.reaches(upgrade, "evaluated")
    assert evaluated["report"]["learned"]["architecture"]["type"] == "bert"
    held_out = evaluated["report"]["learned"]["rows_held_out"]
    assert 50 < held_out < 100
    assert evaluated["report"]["galleries"][studio.gallery]["basis"]["queries"] == held_out
    assert studio.get(f"/models/{studio.new}")["compatible_with"] is None
    path = tmp_path / "model.zip"
    path.write_bytes(studio.client.get(f"/models/{studio.new}/artifact").raise_for_status().content)
    three, also_three, seven = embedding_model.load(path).embed(
        [f"the number {name} was drawn, drawing {place}" for name, place in (("three", 1), ("three", 2), ("seven", 1))]
    )
    assert np.linalg.norm(three - also_three) < np.linalg.norm(three - seven)


def test_broken_picture_fails_the_upgrade_and_is_named(upgrades: Upgrades) -> None:
    studio, upgrade = upgrades.broken
    failed = studio.reaches(upgrade, "failed")
    assert "'picture-33'" in failed["reason"]
    assert studio.dataset in failed["reason"]


def test_labels_that_the_dataset_lacks_are_judged_by_classes_held_out_whole(upgrades: Upgrades) -> None:
    studio, upgrade = upgrades.foreign
    report = studio.reaches(upgrade, "rejected", "active")["report"]
    assert report["learned"]["classes_held_out"] == 2
    assert report["learned"]["classes"] == 6
    proof = report["galleries"][studio.gallery]
    assert proof["basis"]["covered_share"] < 0.7
    assert {stratum["name"] for stratum in proof["strata"]} == {"covered", "not covered"}


def test_rows_are_listed_most_suspect_first(upgrades: Upgrades) -> None:
    studio, upgrade = upgrades.foreign
    studio.reaches(upgrade, "rejected", "active")
    url = f"/upgrades/{upgrade}/rows"
    rows = checked(studio.client.get(url, params={"order": "suspect_label", "limit": 20}))
    scores = [row["suspect_label"] for row in rows]
    assert len(scores) == 20
    assert scores == sorted(scores, reverse=True)
    text = studio.client.get(url, params={"order": "outlier", "limit": 5}, headers={"accept": "text/csv"}).text
    weights = [float(row["outlier"]) for row in csv.DictReader(io.StringIO(text))]
    assert weights == sorted(weights)
    assert weights[0] < 0.5


def test_fewer_dimensions_than_the_old_model_has_are_refused_at_once(upgrades: Upgrades) -> None:
    studio, _ = upgrades.text
    body = {
        "strategy": "compatible",
        "to": {"id": "too-narrow", "architecture": "small-resnet", "dimension": 8},
        "dataset": studio.dataset,
    }
    answer = studio.client.post(f"/models/{studio.old}/upgrade", json=body)
    assert answer.status_code == 422
    assert "dimension" in answer.text
    problem(studio.client.get("/models/too-narrow"), 404, "not-found")


def test_model_that_was_not_trained_here_has_no_artifact(upgrades: Upgrades, tmp_path: Path) -> None:
    studio, _ = upgrades.good
    answer = studio.client.get(f"/models/{studio.old}/artifact")
    assert answer.status_code in (404, 409)
    assert "trained" in answer.json()["detail"]
