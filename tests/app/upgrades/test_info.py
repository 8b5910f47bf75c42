"""What the workers are given of an upgrade: plain data, and what was asked as it was asked."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.problems import NotFound
from app.upgrades.info import UpgradeInfo
from app.upgrades.request import AtLeast
from app.upgrades.states import UpgradeState
from tests.app.upgrades.training import ARCHITECTURE, NEW_DIMENSION, Training
from tests.upgrade_rows import upgrade_info

FORWARD: dict[str, Any] = {"strategy": "forward", "to": "new", "dataset": "pairs"}
COMPATIBLE: dict[str, Any] = {
    "strategy": "compatible",
    "to": {"id": "new", "architecture": ARCHITECTURE},
    "dataset": "photos",
}


def info(request: dict[str, Any]) -> UpgradeInfo:
    return upgrade_info("upg-1", request, ["faq", "shop"])


def test_what_an_older_release_did_not_store_is_what_it_always_meant() -> None:
    request = info({"strategy": "forward", "to": "new", "dataset": "pairs", "evaluation": None}).forward
    assert (request.rewrite, request.dry_run) == (True, False)
    assert (request.activate, request.method) == ("when_accepted", "auto")


def test_what_was_asked_is_there_with_its_types() -> None:
    upgrade = info(COMPATIBLE | {"evaluation": "later", "gate": {"metric": "map", "require": {"at_least": 0.85}}})
    assert (upgrade.source, upgrade.target, upgrade.galleries) == ("old", "new", ("faq", "shop"))
    assert upgrade.state is UpgradeState.QUEUED
    assert upgrade.asked.datasets == ["photos", "later"]
    assert (upgrade.asked.gate.metric, upgrade.asked.gate.require) == ("map", AtLeast(at_least=0.85))
    assert upgrade.compatible.to.built.width == NEW_DIMENSION


@pytest.mark.parametrize(("request_", "other"), [(FORWARD, "compatible"), (COMPATIBLE, "forward")])
def test_a_step_of_the_other_strategy_is_refused(request_: dict[str, Any], other: str) -> None:
    with pytest.raises(TypeError, match="upg-1 is of strategy"):
        getattr(info(request_), other)


def test_the_first_step_finds_its_upgrade_training_and_beginning_again_changes_nothing(training: Training) -> None:
    upgrade, steps = training.start(training={"epochs": 7}), training.crosswalk.upgrade_steps
    assert steps.info(upgrade).state is UpgradeState.QUEUED
    begun = steps.begin(upgrade)
    assert (begun.state, begun.compatible.training.epochs) == (UpgradeState.TRAINING, 7)
    assert steps.begin(upgrade) == begun == steps.info(upgrade)
    assert training.state(upgrade) == "training"


def test_an_upgrade_that_is_not_there_is_not_found(training: Training) -> None:
    for ask in (training.crosswalk.upgrade_steps.begin, training.crosswalk.upgrade_steps.info):
        with pytest.raises(NotFound, match="no upgrade 'upg-none'"):
            ask("upg-none")


def test_a_failure_of_something_that_is_no_upgrade_is_passed_over(training: Training) -> None:
    upgrade = training.start()
    training.fail("enc-1")
    assert training.state(upgrade) == "queued"
    training.fail(upgrade)
    answer: httpx.Response = training.client.get(f"/upgrades/{upgrade}")
    assert (answer.json()["state"], answer.json()["reason"]) == ("failed", "the step died")
