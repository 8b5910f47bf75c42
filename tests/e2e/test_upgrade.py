"""A whole upgrade, seen from outside: what answers before, while and after, and that rolling back undoes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.portable import Space, Transformation, load_transformation, parse_crossing
from tests.e2e.conftest import NewScene, in_both_arrangements
from tests.e2e.service import Service
from tests.e2e.user import NPZ, Answer, Scene, cosine_ranking, npz
from tests.worlds import NEW, OLD, Items

pytestmark = in_both_arrangements


@dataclass(frozen=True)
class UpgradeJourney:
    """One upgrade from start to rollback and forth again, and what was answered on the way.

    late: items put in old vectors once the new generation was built, before the switch. bare, native: items put after
    it, in old vectors without side-information and in new ones. gone: items deleted before it and after it.
    """

    scene: Scene
    id: str
    late: Items
    bare: Items
    native: Items
    gone: set[str]
    before: Answer
    ready: dict[str, Any]
    instant: Answer
    cascade: Answer
    instant_generations: dict[int, dict[str, Any]]
    active: dict[str, Any]
    old_after: Answer
    after: Answer
    generations: dict[int, dict[str, Any]]
    back: Answer
    refused_when_back: int
    again: Answer

    def artifact(self, data: Path, name: str) -> Transformation:
        source, target = Space(self.scene.old, OLD, "cosine"), Space(self.scene.new, NEW, "cosine")
        return load_transformation(data / "artifacts" / self.id / name, source=source, target=target)


@pytest.fixture(scope="session")
def journey(scene: NewScene) -> UpgradeJourney:
    s = scene(side=True)
    gallery = s.world.gallery
    first, late, bare, native = (gallery.take(slice(*ends)) for ends in ((0, 570), (570, 580), (580, 590), (590, 600)))
    s.put(first)
    s.put_pairs(first.take(np.random.default_rng(0).permutation(570)[:250]))
    upgrade = s.start(activate="manually")
    ready = s.reaches(upgrade, "ready")
    s.put(late)
    s.delete(first.id[:5])
    before = s.ask(s.old)
    instant, instant_generations = s.ask(s.new, route="instant"), s.generations()
    cascade = s.ask(s.new)
    active = s.post(f"/upgrades/{upgrade}/activate")
    s.put_body(npz(id=bare.id, label=bare.label, embedding=bare.old), NPZ)
    s.put(native, s.new)
    s.delete(first.id[5:10])
    old_after, after, generations = s.ask(s.old), s.ask(s.new), s.generations()
    s.post(f"/upgrades/{upgrade}/rollback")
    back = s.ask(s.old)
    query = {"gallery": s.gallery, "model": s.new, "vectors": s.world.queries.new[:1].tolist()}
    refused = s.client.post("/search", json=query).status_code
    s.post(f"/upgrades/{upgrade}/activate")
    again = s.ask(s.new)
    return UpgradeJourney(
        scene=s,
        id=upgrade,
        late=late,
        bare=bare,
        native=native,
        gone=set(first.id[:10]),
        before=before,
        ready=ready,
        instant=instant,
        cascade=cascade,
        instant_generations=instant_generations,
        active=active,
        old_after=old_after,
        after=after,
        generations=generations,
        back=back,
        refused_when_back=refused,
        again=again,
    )


def test_old_queries_are_answered_directly_before(journey: UpgradeJourney) -> None:
    s = journey.scene
    written = s.world.gallery.take(slice(5, 580))
    assert (journey.before.route, journey.before.generation, journey.before.exact) == ("direct", 1, True)
    assert journey.before.ids == cosine_ranking(written.id, written.old, s.world.queries.old, 10)


def test_accepted_upgrade_waits_at_ready_where_it_is_to_be_activated_by_hand(journey: UpgradeJourney) -> None:
    assert journey.ready["state"] == "ready"
    generations = journey.instant_generations
    assert [(one["active"], one["state"]) for one in generations.values()] == [(True, "ready"), (False, "ready")]
    assert generations[2]["upgrade"] == journey.id


def test_new_queries_are_answered_instantly_before_the_switch_and_better_than_the_old(journey: UpgradeJourney) -> None:
    assert (journey.instant.route, journey.instant.generation) == ("instant", 1)
    assert journey.scene.right(journey.instant) > journey.scene.right(journey.before)


def test_candidates_re_ranked_by_what_reads_side_information_answer_better_still(journey: UpgradeJourney) -> None:
    assert (journey.cascade.route, journey.cascade.generation) == ("cascade", 1)
    assert journey.scene.right(journey.cascade) >= journey.scene.right(journey.instant)


def test_instant_answers_rank_the_old_vectors_by_the_pushed_query(journey: UpgradeJourney, service: Service) -> None:
    s = journey.scene
    written = s.world.gallery.take(slice(5, 580))
    pushed = journey.artifact(service.data, "plain").push(s.world.queries.new)
    assert journey.instant.exact is pushed.exact is False
    units = written.old / np.linalg.norm(written.old, axis=1, keepdims=True)
    nearest = np.argsort(-(pushed.queries @ units.T), axis=1)[:, :10]
    same = [ids == [written.id[row] for row in rows] for ids, rows in zip(journey.instant.ids, nearest, strict=True)]
    assert np.mean(same) > 0.98  # float32 may exchange two that tie


def test_after_the_switch_new_queries_get_the_exact_ranking_of_the_transformed_gallery(
    journey: UpgradeJourney, service: Service
) -> None:
    s = journey.scene
    chosen, plain = (journey.artifact(service.data, name) for name in ("chosen", "plain"))
    assert chosen.card.side_dimension is not None
    assert plain.card.side_dimension is None
    transformed = s.world.gallery.take(slice(10, 580))
    ids = [*transformed.id, *journey.bare.id, *journey.native.id]
    vectors = [chosen.apply(transformed.old, transformed.side), plain.apply(journey.bare.old), journey.native.new]
    assert (journey.after.route, journey.after.generation, journey.after.exact) == ("transformed", 2, True)
    assert journey.after.ids == cosine_ranking(ids, np.concatenate(vectors), s.world.queries.new, 10)


def test_the_crossing_is_taken_away_as_it_serves(journey: UpgradeJourney, service: Service) -> None:
    s, url = journey.scene, f"/upgrades/{journey.id}/artifact"
    taken = parse_crossing(s.client.get(url).content)
    first = s.world.gallery.take(slice(0, 580))
    transformed = taken.apply(first.old, first.side, made_by=s.old)
    np.testing.assert_array_equal(transformed, journey.artifact(service.data, "chosen").apply(first.old, first.side))
    known = np.arange(len(first.old)) % 2 > 0
    fed = {f"vectors.{s.old}": first.old, "side_information": first.side, "has_side_information": known}
    graph = onnxruntime.InferenceSession(s.client.get(url, params={"format": "onnx"}).content)
    (computed,) = graph.run(None, fed)
    expected = taken.apply(first.old, first.side, known, made_by=s.old)
    assert np.abs(computed - expected).max() <= 1e-5 * np.abs(expected).max()
    proof = taken.card.proof[s.gallery]
    assert journey.ready["created_at"] < proof["proved_at"] <= journey.active["updated_at"]
    assert proof["metrics"] == journey.ready["report"]["galleries"][s.gallery]["metrics"]


def test_prediction_before_the_switch_holds_what_is_measured_after_it(journey: UpgradeJourney) -> None:
    (proof,) = journey.ready["report"]["galleries"].values()
    predicted = next(one["cross"] for one in proof["metrics"] if one["metric"] == "cmc@1")
    assert predicted["low"] <= journey.scene.right(journey.after) <= predicted["high"]


def test_clients_of_the_old_model_are_still_answered_after_the_switch(journey: UpgradeJourney) -> None:
    s = journey.scene
    written = s.world.gallery.take(slice(10, 590))
    assert (journey.old_after.route, journey.old_after.generation) == ("direct", 1)
    assert journey.old_after.ids == cosine_ranking(written.id, written.old, s.world.queries.old, 10)


def test_generations_count_native_transformed_and_missing_items(journey: UpgradeJourney) -> None:
    first, second = journey.generations[1], journey.generations[2]
    assert (first["native_items"], first["transformed_items"], first["missing_items"]) == (580, 0, 10)
    assert (second["native_items"], second["transformed_items"], second["missing_items"]) == (10, 580, 0)
    assert (first["active"], second["active"]) == (False, True)


def test_rollback_restores_the_old_answers_bit_for_bit_and_keeps_what_was_written_since(
    journey: UpgradeJourney,
) -> None:
    assert journey.back == journey.old_after
    untouched = [i for i, ids in enumerate(journey.back.ids) if not {*ids, *journey.before.ids[i]} & _written(journey)]
    assert len(untouched) > 50
    for i in untouched:
        assert (journey.back.ids[i], journey.back.scores[i]) == (journey.before.ids[i], journey.before.scores[i])


def test_rolled_back_upgrade_answers_no_new_queries_until_it_is_activated_again(journey: UpgradeJourney) -> None:
    assert journey.refused_when_back == 409
    assert journey.again == journey.after


def test_states_and_reports_tell_the_journey(journey: UpgradeJourney) -> None:
    assert journey.active["state"] == "active"
    learned = journey.ready["report"]["learned"]
    assert learned["method"] == "ridge"
    assert learned["uses_side_information"]
    assert learned["pairs"] == 250
    assert journey.ready["progress"] is None
    assert journey.ready["reason"] is None


def test_no_item_was_re_embedded(journey: UpgradeJourney) -> None:
    s = journey.scene
    assert list(s.item(journey.late.id[0])["embeddings"]) == [s.old]
    assert list(s.item(journey.native.id[0])["embeddings"]) == [s.new]


def _written(journey: UpgradeJourney) -> set[str]:
    return {*journey.bare.id, *journey.native.id, *journey.gone}
