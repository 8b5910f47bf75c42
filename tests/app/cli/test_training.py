"""The commands of compatible training, against a real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.composition import compose
from app.settings import Settings
from models.embedding_model import load
from tests.app.upgrades.training import ARCHITECTURE, Training
from tests.command import run_command
from tests.serving import serving


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    with serving(settings) as client:
        crosswalk = compose(settings)
        yield Training(client, crosswalk)
        crosswalk.close()


def test_a_model_is_trained_downloaded_and_its_rows_are_listed(training: Training, tmp_path: Path) -> None:
    url = ("--url", str(training.client.base_url))
    model = ("--to", "new", "--architecture", json.dumps(ARCHITECTURE), "--dataset", "photos")
    how = ("--epochs", "3", "--training", '{"batch": 8}', "--instance-weights", "--gallery", "shop", "--manual")
    started = run_command("upgrades", "train", "old", *model, *how, *url)
    assert started.returncode == 0, started.stderr
    upgrade = started.stdout.strip()
    shown = training.client.get(f"/upgrades/{upgrade}").json()
    assert (shown["training"]["epochs"], shown["training"]["batch"], shown["activate"]) == (3, 8, "manually")
    assert shown["instance_weights"] is not None

    out = tmp_path / "new.zip"
    early = run_command("models", "artifact", "new", "--out", str(out), *url)
    assert early.returncode == 1
    assert "still queued" in early.stderr
    assert list(tmp_path.iterdir()) == []
    training.train(upgrade)
    done = run_command("models", "artifact", "new", "--out", str(out), *url)
    assert done.returncode == 0, done.stderr
    assert load(out).card.id == "new"
    rows = run_command("upgrades", "rows", upgrade, "--order", "outlier", "--limit", "2", *url)
    assert [row["id"] for row in json.loads(rows.stdout)] == ["r2", "r0"]


def test_json_that_is_none_is_told_plainly() -> None:
    done = run_command(
        "upgrades", "train", "old", "--to", "x", "--architecture", "{", "--dataset", "d", "--url", "http://[::1]:1"
    )
    assert done.returncode == 2
    assert "--architecture" in done.stderr
    assert "Traceback" not in done.stderr
