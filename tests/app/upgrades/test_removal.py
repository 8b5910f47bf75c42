"""Which upgrades can be removed, what goes with them, and what they keep from being removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from app.artifacts.folder import UpgradeArtifacts
from app.artifacts.removal import remove_once_committed
from app.composition import compose
from app.leftovers import leftovers, sweep_leftovers
from app.settings import Settings
from app.storage.database import Database
from tests.app.galleries.upgraded import NEW, Upgraded
from tests.app.upgrades.training import Training
from tests.e2e.user import problem


@pytest.fixture
def each_upgraded(each_client: httpx.Client, each_settings: Settings) -> Iterator[Upgraded]:
    """On SQLite and on PostgreSQL in turn."""
    crosswalk = compose(each_settings)
    yield Upgraded(each_client, crosswalk)
    crosswalk.close()


@pytest.fixture
def upgraded(client: httpx.Client, settings: Settings) -> Iterator[Upgraded]:
    crosswalk = compose(settings)
    yield Upgraded(client, crosswalk)
    crosswalk.close()


def _started(s: Upgraded) -> str:
    body = {"to": "new", "dataset": "pairs", "galleries": ["shop"], "method": "ridge"}
    return str(s.post("/models/old/upgrade", body, 202)["id"])


def test_what_was_cancelled_keeps_no_model_and_can_be_removed_once(each_upgraded: Upgraded) -> None:
    s = each_upgraded
    upgrade = _started(s)
    assert "cancel" in problem(s.client.delete(f"/upgrades/{upgrade}"), 409, "wrong-state")["detail"]
    assert problem(s.client.delete("/models/new"), 409, "in-use")["used_by"] == ["dataset pairs", f"upgrade {upgrade}"]
    s.post(f"/upgrades/{upgrade}/cancel")
    for path in ("/datasets/pairs", "/galleries/shop", "/models/new", "/models/old"):
        assert s.client.delete(path).status_code == 204, path
    shown = s.client.get(f"/upgrades/{upgrade}").json()
    assert (shown["from"], shown["to"], shown["state"]) == ("old", "new", "cancelled")
    assert s.client.delete(f"/upgrades/{upgrade}").status_code == 204
    for answer in (s.client.delete(f"/upgrades/{upgrade}"), s.client.get(f"/upgrades/{upgrade}")):
        problem(answer, 404, "not-found")


def test_an_upgrade_that_a_gallery_is_searched_through_stays(each_upgraded: Upgraded) -> None:
    s = each_upgraded
    upgrade = s.upgrade()
    refused = problem(s.client.delete(f"/upgrades/{upgrade}"), 409, "in-use")
    assert refused["used_by"] == ["gallery shop, whose active generation is 2"]
    assert s.route() == "transformed"


def test_one_rolled_back_goes_with_its_generation_and_its_files(each_upgraded: Upgraded) -> None:
    s = each_upgraded
    upgrade = s.upgrade()
    assert s.route() == "transformed"
    s.put("new", range(3))
    s.post(f"/upgrades/{upgrade}/rollback")
    folder = UpgradeArtifacts(s.crosswalk.settings.artifacts_dir, upgrade).folder
    assert folder.is_dir()
    assert s.client.delete(f"/upgrades/{upgrade}").status_code == 204
    assert not folder.exists()
    assert [one["number"] for one in s.client.get("/galleries/shop/generations").json()["items"]] == [1]
    # The items that were re-embedded keep their vectors, and these their model.
    assert "gallery shop" in problem(s.client.delete("/models/new"), 409, "in-use")["used_by"]


def test_a_generation_is_not_taken_for_one_that_went(upgraded: Upgraded) -> None:
    first = upgraded.upgrade()
    body = {"gallery": "shop", "model": "new", "vectors": upgraded.new[:1].tolist()}
    upgraded.post("/search", body)
    upgraded.post(f"/upgrades/{first}/rollback")
    assert upgraded.client.delete(f"/upgrades/{first}").status_code == 204
    second = upgraded.upgrade()
    upgraded.put("new", range(1))
    answer = upgraded.post("/search", body)
    assert (answer["generation"], answer["results"][0][0]["id"]) == (3, upgraded.ids[0])
    assert upgraded.generation(2)["upgrade"] == second  # the second that there is


def test_a_removed_model_leaves_room_for_one_of_another_dimension(upgraded: Upgraded) -> None:
    upgrade = upgraded.upgrade()
    upgraded.put("new", range(1))
    upgraded.post(f"/upgrades/{upgrade}/rollback")
    upgraded.put("old", range(1))
    upgraded.client.post("/galleries/shop/items/delete", json={"ids": upgraded.ids[:1]})
    for path in (f"/upgrades/{upgrade}", "/datasets/pairs", "/models/new"):
        answer = upgraded.client.delete(path)
        assert answer.status_code == 204, answer.text
    upgraded.post("/models", {"id": "new", "dimension": NEW + 1, "metric": "l2"}, 201)
    items = upgraded.crosswalk.galleries.store(upgraded.crosswalk.galleries.info("shop"))
    items.generation(2, NEW + 1).commit(items.generation(2, NEW + 1).write_fragment(iter(())))


def test_one_whose_galleries_are_no_more_can_be_removed(upgraded: Upgraded) -> None:
    upgrade = upgraded.upgrade()
    assert upgraded.client.delete("/galleries/shop").status_code == 204
    assert upgraded.client.delete(f"/upgrades/{upgrade}").status_code == 204
    for path in ("/datasets/pairs", "/models/new", "/models/old"):
        assert upgraded.client.delete(path).status_code == 204


def test_a_trained_model_stays_registered_without_its_weights(training: Training) -> None:
    upgrade = training.accepted()
    refused = problem(training.client.delete(f"/upgrades/{upgrade}"), 409, "in-use")
    assert refused["used_by"] == ["model new, whose queries search through it"]
    assert "rollback" in refused["detail"]
    training.post(f"/upgrades/{upgrade}/rollback")
    assert training.client.delete(f"/upgrades/{upgrade}").status_code == 204
    model = training.client.get("/models/new").json()
    assert (model["trained_by"], model["compatible_with"]) == (None, None)
    problem(training.client.get("/models/new/artifact"), 409, "wrong-state")
    assert training.client.delete("/models/new").status_code == 204


def test_files_that_a_crash_kept_after_the_removal_are_leftovers_and_those_of_a_refused_one_stay(
    upgraded: Upgraded,
) -> None:
    settings = upgraded.crosswalk.settings.model_copy(update={"leftover_seconds": 0.0})
    upgrade = upgraded.upgrade()
    folder = UpgradeArtifacts(settings.artifacts_dir, upgrade).folder
    content = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    problem(upgraded.client.delete(f"/upgrades/{upgrade}"), 409, "in-use")
    with closing(compose(settings)) as crosswalk:
        sweep_leftovers(crosswalk)
        assert {path for path in folder.rglob("*") if path.is_file()} == set(content)
        upgraded.post(f"/upgrades/{upgrade}/rollback")
        assert upgraded.client.delete(f"/upgrades/{upgrade}").status_code == 204
        for path, written in content.items():  # as where the process ended between the commit and the removal
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written)
        assert folder in leftovers(crosswalk)
        sweep_leftovers(crosswalk)
        assert not folder.exists()


def test_folder_goes_after_the_commit_alone(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with suppress(LookupError), database.session() as session:
        remove_once_committed(session, folder)
        raise LookupError("thought better of it")
    assert folder.is_dir()
    with database.session() as session:
        remove_once_committed(session, folder)
        assert folder.is_dir()
    assert not folder.exists()
