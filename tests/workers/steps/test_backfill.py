"""The step of a backfill, where items lack texts and go while it works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.embedding_town import WORLD, Town, embedding_town
from tests.e2e.user import checked
from tests.waiting import wait_until
from tests.worlds import Floats
from workers.steps import backfill

AT_ONCE = 4


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with embedding_town(tmp_path) as town:
        yield town


def test_items_that_go_meanwhile_make_no_others_be_taken_for_items_without_a_text(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = town.scene()
    scene.put_pairs(scene.world.pairs(200))
    scene.reaches(scene.start(fused=False), "active")
    monkeypatch.setitem(backfill._AT_ONCE, "text", AT_ONCE)
    url = f"/galleries/{scene.gallery}/backfill"
    scene.delete(WORLD.gallery.id[40:])
    mute = [one["id"] for one in scene.get(url, limit=AT_ONCE - 1, order="random")["next"]]
    for item in mute:
        checked(scene.client.patch(f"/galleries/{scene.gallery}/items/{item}", json={"payload": {"page": 1}}))
    embed = town.server.embed
    asked: list[str] = []

    def embed_and_delete(text: str) -> Floats:
        if not asked:
            scene.delete(mute)  # while the part's one text is embedded
        asked.append(text)
        return embed(text)

    monkeypatch.setattr(town.server, "embed", embed_and_delete)
    run = scene.post(url, {"order": "random"}, 202)["id"]
    ended = wait_until(
        lambda: (now := scene.get(f"/galleries/{scene.gallery}/backfills/{run}"))["reason"] and now, "it to end"
    )
    assert ended["state"] == "done", ended["reason"]
    assert "no text" not in ended["reason"]
    assert len(asked) == len(set(asked)) == 40 - len(mute)
    assert scene.get(url)["complete"]
