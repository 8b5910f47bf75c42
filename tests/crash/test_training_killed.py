"""kill -9 while a compatible model is trained: it goes on where it stood, to the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.failpoints import FAILPOINT, JOURNAL, Failpoint, Trigger
from tests.crash.test_upgrade_killed import gone
from tests.e2e.service import Service
from tests.e2e.studio import Studio
from tests.waiting import PATIENCE_SECONDS, wait_until

ROWS, BATCH, EPOCHS = 240, 8, 6
STEPS = ROWS * 9 // 10 // BATCH  # of an epoch, at least: a tenth of every class is held out
TRAINING = {"epochs": EPOCHS, "batch": BATCH, "image_size": 8, "schedule": "one_cycle"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, httpx.Client]]:
    """A service whose first step that trains stops in its third epoch."""
    folder = tmp_path_factory.mktemp("crash")
    stop = Trigger(Failpoint.PROGRESS_TOLD, "step", 2 * STEPS + STEPS // 2, "stop")
    service = Service(folder, {FAILPOINT: str(stop), JOURNAL: str(folder / "journal")}).start()
    with httpx.Client(base_url=service.url, timeout=PATIENCE_SECONDS) as client:
        yield service, client
    service.kill()


def test_training_killed_after_two_epochs_ends_with_the_weights_of_an_undisturbed_one(
    client: tuple[Service, httpx.Client],
) -> None:
    service, http = client
    killed, undisturbed = Studio(http), Studio(http)
    for studio in (killed, undisturbed):
        studio.put_gallery()
        studio.put_rows(studio.dataset, range(ROWS), None)
    upgrade = killed.train(training=TRAINING, instance_weights=True)
    step = wait_until(service.stopped_step, "the step to stop in the middle", last=lambda: killed.upgrade(upgrade))
    assert step is not None
    checkpoint = service.data / "artifacts" / upgrade / "training" / "checkpoint.safetensors"
    assert checkpoint.exists()
    step.kill()
    gone(step)
    other = undisturbed.train(training=TRAINING, instance_weights=True)
    finished, expected = killed.reaches(upgrade, "active", "rejected"), undisturbed.reaches(other, "active", "rejected")
    assert len(curve(finished)) == EPOCHS
    assert curve(finished) == curve(expected)
    assert weights(service, upgrade) == weights(service, other)
    wait_until(lambda: not checkpoint.parent.exists(), "the copy of the rows to be gone")


def curve(upgrade: dict[str, Any]) -> list[dict[str, Any]]:
    """What every epoch measured, but for how long it took."""
    epochs = upgrade["report"]["learned"]["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def weights(service: Service, upgrade: str) -> bytes:
    (path,) = (service.data / "artifacts" / upgrade / "model").glob("*.safetensors")
    return path.read_bytes()
