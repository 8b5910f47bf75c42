"""One command from an old model to a new one: the service chooses what to embed, embeds it, and learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from app.cli import resources
from app.composition import compose
from tests.e2e.embedding_town import PREFIX, TEXT_OF, Town, embedding_town
from tests.e2e.user import problem
from tests.workers.stepping import do_step
from tests.worlds import NEW

commands = typer.Typer()
resources.register(commands)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with embedding_town(tmp_path_factory.mktemp("town")) as town:
        yield town


def test_one_command_embeds_what_it_chose_learns_proves_and_switches(town: Town) -> None:
    scene = town.scene()
    before = scene.ask(scene.old)
    arguments = ["upgrade", scene.old, "--to", scene.new, "--gallery", scene.gallery, "--pairs", "200", "--follow"]
    result = CliRunner().invoke(commands, [*arguments, "--url", str(town.client.base_url)])
    assert result.exit_code == 0, result.output
    started = [line for line in result.stdout.splitlines() if line.startswith("upg-")]  # the service logs there too
    upgrade = scene.upgrade(started[0])
    assert upgrade["state"] == "active"
    assert (upgrade["pairs"], upgrade["spent"]["items"]) == (200, 200)
    assert scene.right(scene.ask(scene.new)) > scene.right(before)
    texts = town.server.charged
    assert len(texts) == len(set(texts)) == 200
    assert set(texts) <= {PREFIX + text for text in TEXT_OF.values()}
    dataset = scene.get(f"/datasets/{upgrade['dataset']}")
    assert upgrade["dataset"] == f"{upgrade['id']}-pairs"
    assert (dataset["rows"], dataset["embeddings"]) == (200, {scene.new: 200})
    chosen = scene.sample(200)["ids"]
    assert {PREFIX + TEXT_OF[item] for item in chosen} == set(texts)


def test_failed_embedding_says_why_and_the_next_upgrade_does_not_pay_again(town: Town) -> None:
    scene = town.scene(model="test-model")
    town.server.then(None, None, None, None, None, "few")
    failed = scene.settles(town.start(scene, pairs=150))
    assert failed["state"] == "failed"
    (short,) = (one for one in town.server.received if one.fault == "few")  # whichever came sixth
    assert f"{len(short.texts) - 1} vectors for {len(short.texts)} texts" in failed["reason"]
    answered = [text for one in town.server.received if one.fault is None for text in one.texts]
    assert len(answered) > 4 * 16  # batches of 16, and perhaps the one of what is left
    paid = set(answered)
    scene.reaches(town.start(scene, pairs=150), "active")
    charged = town.server.charged
    assert {text for text in charged if charged.count(text) > 1} <= set(short.texts)
    assert all(charged.count(text) == 1 for text in paid)
    assert len(charged) <= 150 + len(short.texts)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dimension", f"{NEW - 1} dimensions, and the model has {NEW}"),
        ("nan", "holds a NaN"),
        ("other model", "answered as 'another-model'"),
    ],
)
def test_an_embedder_that_cannot_be_believed_fails_the_upgrade_with_the_reason_and_within_its_budget(
    town: Town, fault: str, said: str
) -> None:
    scene = town.scene(model=f"of {fault}")
    town.server.then(fault)
    failed = scene.settles(town.start(scene, pairs=100, budget={"items": 100}))
    assert (failed["state"], scene.active()) == ("failed", 1)
    assert said in failed["reason"]
    assert len(town.server.charged) <= failed["spent"]["items"] <= 100


def test_an_embedder_that_fails_for_a_while_is_waited_for(town: Town) -> None:
    scene = town.scene(model="of a while")
    town.server.then("429 Retry-After: 0", "503", "drop", None, "cut", "429")
    upgrade = scene.settles(town.start(scene, pairs=150, budget={"items": 200}))
    assert upgrade["state"] in ("active", "rejected")
    assert len(town.server.charged) <= upgrade["spent"]["items"] <= 200
    assert scene.get(f"/datasets/{upgrade['dataset']}")["rows"] == 150


def test_budget_limits_what_is_embedded_and_learned_from(town: Town) -> None:
    scene = town.scene(connection="priced")
    town.server.then("500", "429 Retry-After: 0")
    upgrade = scene.settles(town.start(scene, pairs=300, budget={"money": 1.2}))
    assert upgrade["state"] in ("active", "rejected")
    assert len(town.server.charged) == upgrade["spent"]["items"] == 120
    assert upgrade["spent"]["money"] == pytest.approx(1.2)
    # What the 500 was for may have been paid, and is asked for anew: it counts twice.
    assert scene.get(f"/datasets/{upgrade['dataset']}")["rows"] == 120 - 16


def test_budget_that_is_not_enough_to_learn_fails_with_a_reason(town: Town) -> None:
    scene = town.scene(connection="priced", model="of-its-own")
    failed = scene.settles(town.start(scene, budget={"items": 5}))
    assert failed["state"] == "failed"
    assert "enough to embed 5 items" in failed["reason"]
    assert scene.active() == 1


def test_what_cannot_be_embedded_is_refused_at_once(town: Town) -> None:
    scene = town.scene()
    body = {"to": scene.new, "galleries": [scene.gallery], "pairs": 50}
    for more, pointer, said in (
        ({"to": scene.newest}, "/pairs", "names no embedder"),
        ({"text": "body"}, "/text", "no text in the field 'body'"),
        ({"budget": {"money": 5}}, "/budget/money", "says no price"),
    ):
        answer = problem(scene.client.post(f"/models/{scene.old}/upgrade", json=body | more), 422, "validation-error")
        assert answer["errors"][0]["pointer"] == pointer
        assert said in answer["errors"][0]["message"]
    assert not town.server.received


def test_embedding_that_is_cut_off_goes_on_with_the_same_items_and_pays_for_none_twice(tmp_path: Path) -> None:
    with embedding_town(tmp_path, worker=None) as town:
        scene = town.scene()
        crosswalk = compose(town.settings)
        upgrade = town.start(scene, pairs=60)
        do_step(crosswalk, cut_off=True)
        paid = sorted(town.server.charged)
        assert len(paid) == 60
        assert scene.upgrade(upgrade)["state"] == "embedding"
        scene.delete([next(item for item in TEXT_OF if PREFIX + TEXT_OF[item] not in paid)])  # another version
        assert do_step(crosswalk) == "embed_pairs"
        assert sorted(town.server.charged) == paid
        now = scene.upgrade(upgrade)
        assert (now["state"], now["spent"]["items"]) == ("training", 60)
        crosswalk.close()
