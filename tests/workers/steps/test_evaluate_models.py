"""What an evaluation finds, against the same figures computed naively."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from app.composition import compose
from app.evaluations.service import STEP
from app.settings import Settings
from tests.app.galleries.upgraded import ITEMS, Upgraded
from tests.app.upgrades.training import NEW_DIMENSION, OLD_DIMENSION, Training
from tests.serving import serving
from tests.versions import Versions
from tests.workers.stepping import do_step
from tests.worlds import Floats

Many = Sequence[str]


@pytest.fixture
def versions(settings: Settings) -> Iterator[Versions]:
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Versions(client, crosswalk)
    crosswalk.close()


@pytest.fixture
def upgraded(settings: Settings) -> Iterator[Upgraded]:
    crosswalk = compose(settings)
    with serving(settings) as client:
        yield Upgraded(client, crosswalk)
    crosswalk.close()


def first_right(queries: Floats, gallery: Floats, labels: Many, ids: Many, among: tuple[Many, Many]) -> list[bool]:
    """Whether each query's nearest row by cosine, its own entry left out, has its label; in float64, one by one."""
    unit = [
        vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries, gallery)
    ]
    right = []
    for query, label, own in zip(unit[0], labels, ids, strict=True):
        scored = [
            (float(query @ row), there) for row, there, other in zip(unit[1], *among, strict=True) if other != own
        ]
        right.append(max(scored)[1] == label)
    return right


def own_rows(s: Versions, queries: Floats, gallery: Floats) -> float:
    """M(queries, gallery) over the dataset's rows: cmc@1."""
    rows = s.world.queries
    return float(np.mean(first_right(queries, gallery, rows.label, rows.id, (rows.label, rows.id))))


def done(s: Versions, evaluation: str) -> dict[str, Any]:
    """The result once the step has run."""
    do_step(s.crosswalk, [STEP])
    finished = s.evaluation(evaluation)
    assert (finished["state"], finished["reason"], finished["progress"]) == ("done", None, None)
    json.dumps(finished, allow_nan=False)
    return dict(finished["result"])


def failed(s: Versions, evaluation: str) -> str:
    """Why it failed."""
    do_step(s.crosswalk, [STEP])
    finished = s.evaluation(evaluation)
    assert (finished["state"], finished["result"]) == ("failed", None)
    return str(finished["reason"])


def figures(measured: dict[str, Any]) -> dict[str, float]:
    return {figure["metric"]: figure["mean"] for figure in measured["figures"]}


def test_a_crossed_search_is_measured_against_the_old_self_test_and_full_re_embedding(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    upgrade = s.crossed(s.old, s.new)
    result = done(s, s.evaluate(queries=s.new, gallery=s.old))
    rows, h = s.world.queries, s.h(s.old, s.new)
    old = own_rows(s, rows.old, rows.old)
    cross = own_rows(s, rows.new, h.apply(rows.old))
    new = own_rows(s, rows.new, rows.new)
    assert old < cross < new
    assert figures(result["search"])["cmc@1"] == pytest.approx(cross)
    assert figures(result["against"])["cmc@1"] == pytest.approx(old)
    assert figures(result["re_embedded"]["measured"])["cmc@1"] == pytest.approx(new)
    assert figures(result["re_embedded"]["measured"])["recall@10"] == 1
    for figure in result["search"]["figures"]:
        assert figure["low"] <= figure["mean"] <= figure["high"]
    assert result["search"]["crossed"] == {
        "how": "crossing",
        "upgrades": [
            {
                "upgrade": upgrade,
                "from": s.old,
                "to": s.new,
                "state": "ready",
                "method": "ridge",
                "rows_with_side_information": None,
            }
        ],
        "native_rows": 120,
        "transformed_rows": 0,
    }
    assert result["against"]["crossed"]["how"] == "same_space"
    (top,) = (one for one in result["comparison"]["differences"] if one["metric"] == "cmc@1")
    assert top["criterion"]["difference"]["mean"] == pytest.approx(cross - old)
    assert top["update_gain"] == pytest.approx({"gain": (cross - old) / (new - old), "denominator": new - old})
    assert top["oracle_gain"] == pytest.approx(new / old)
    assert top["retention"] == pytest.approx(cross / new)
    assert result["re_embedded"]["retention"]["cmc@1"] == pytest.approx(cross / new)
    assert top["compatibility"]["p_up"] == pytest.approx(0.5)  # new is new* itself
    assert result["unconstrained"]["model"] == s.new
    flips = result["comparison"]["flips"]
    assert (flips["positive"] - flips["negative"]) / flips["total"] == pytest.approx(cross - old)


def test_the_newest_accepted_crossing_is_taken_unless_another_is_named(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    s.crossed(s.old, s.new)
    newest = s.crossed(s.old, s.new, side=True)
    rejected = s.crossed(s.old, s.new, accepted=False)
    evaluation = s.evaluate(queries=s.new, gallery=s.old)
    assert s.evaluation(evaluation)["request"]["via"] == newest
    (hop,) = done(s, evaluation)["search"]["crossed"]["upgrades"]
    assert (hop["upgrade"], hop["rows_with_side_information"]) == (newest, 0)
    named = done(s, s.evaluate(queries=s.new, gallery=s.old, via=rejected))
    (hop,) = named["search"]["crossed"]["upgrades"]
    assert (hop["upgrade"], hop["state"]) == (rejected, "rejected")


def test_side_information_is_used_by_the_rows_that_have_it(versions: Versions) -> None:
    s = versions
    s.post("/datasets", {"id": "beside", "side_information": {"dimension": s.world.queries.side.shape[1]}}, 201)
    s.dataset = "beside"
    s.with_rows(s.old, s.new, side=True)
    s.crossed(s.old, s.new, side=True)
    result = done(s, s.evaluate(queries=s.new, gallery=s.old))
    assert result["search"]["crossed"]["upgrades"][0]["rows_with_side_information"] == 120
    rows = s.world.queries
    transformed = s.h(s.old, s.new, side=True).apply(rows.old, rows.side)
    assert figures(result["search"])["cmc@1"] == pytest.approx(own_rows(s, rows.new, transformed))


def test_a_gallery_is_searched_by_the_datasets_rows_and_sliced_by_its_payload(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    rows = s.world.queries
    countries = [["at", "de", None][place % 3] for place in range(len(rows))]
    s.put_payload(rows, country=countries)
    s.crossed(s.old, s.new)
    request = {"queries": s.new, "gallery_id": s.gallery, "slices": ["country", "label"], "metrics": ["map", "cmc@1"]}
    evaluation = s.evaluate(**request)
    assert s.evaluation(evaluation)["request"]["gallery"] == s.old
    result = done(s, evaluation)
    h = s.h(s.old, s.new)
    assert figures(result["search"])["cmc@1"] == pytest.approx(own_rows(s, rows.new, h.apply(rows.old)))
    assert result["re_embedded"]["measured"] is None
    assert "not measurable" in result["re_embedded"]["reason"]
    assert result["comparison"]["sliced_metric"] == "map"
    by_country, by_label = result["comparison"]["slices"]
    assert (by_country["name"], by_country["unsliced"]) == ("country", 40)
    assert {one["value"]: one["queries"] for one in by_country["slices"]} == {"at": 40, "de": 40}
    assert {one["value"] for one in by_label["slices"]} == set(rows.label)


def test_a_group_that_loses_is_marked(versions: Versions) -> None:
    s = versions.with_rows(versions.new, versions.dull)
    result = done(
        s,
        s.evaluate(queries=s.dull, gallery=s.dull, against={"queries": s.new, "gallery": s.new}, slices=["label"]),
    )
    (by_label,) = result["comparison"]["slices"]
    assert by_label["losing"] > 0
    assert by_label["slices"][0]["losing"]
    assert by_label["slices"][0]["difference"]["high"] < 0


def test_a_mixed_generation_says_what_is_native_in_it(upgraded: Upgraded) -> None:
    u = upgraded
    u.upgrade()
    u.put("new", range(10))
    rows = [
        {"id": u.ids[place], "label": u.label[place], "embedding.new": u.new[place].tolist()} for place in range(ITEMS)
    ]
    assert u.client.put("/datasets/pairs/rows", json={"rows": rows}).is_success
    request = {"dataset": "pairs", "queries": "new", "gallery_id": "shop", "metrics": ["cmc@1"]}
    evaluation = str(u.post("/evaluations", request, 202)["id"])
    do_step(u.crosswalk, [STEP])
    result = u.client.get(f"/evaluations/{evaluation}").json()["result"]
    crossed = result["search"]["crossed"]
    assert (crossed["how"], crossed["native_rows"], crossed["transformed_rows"]) == ("same_space", 10, 30)
    vectors = np.concatenate([u.new[:10], u.h.apply(u.old[10:])])
    distance = np.linalg.norm(u.new[:, None] - vectors[None], axis=2)
    distance[np.arange(ITEMS), np.arange(ITEMS)] = np.inf
    distance[:, [label is None for label in u.label]] = np.inf
    right = [u.label[nearest] == label for nearest, label in zip(distance.argmin(1), u.label, strict=True) if label]
    assert result["search"]["figures"][0]["mean"] == pytest.approx(np.mean(right))
    assert result["search"]["unlabelled_queries"] == 5
    assert (result["comparison"], result["re_embedded"]["measured"]) == (None, None)


def test_without_labels_the_neighbours_of_full_re_embedding_are_the_truth(versions: Versions) -> None:
    s = versions
    rows = s.world.queries
    for place in range(len(rows)):
        rows.label[place] = ""
    body = {
        "rows": [
            {"id": one, "embeddings": {s.old: rows.old[place].tolist(), s.new: rows.new[place].tolist()}}
            for place, one in enumerate(rows.id)
        ]
    }
    assert s.client.put(f"/datasets/{s.dataset}/rows", json=body).is_success
    s.crossed(s.old, s.new)
    result = done(s, s.evaluate(queries=s.new, gallery=s.old))
    assert [figure["metric"] for figure in result["search"]["figures"]] == ["recall@10"]
    (difference,) = result["comparison"]["differences"]
    assert difference["criterion"]["verdict"] == "better"
    assert result["re_embedded"]["retention"]["recall@10"] == pytest.approx(figures(result["search"])["recall@10"])


def test_a_chain_measures_every_cell_at_once_through_a_crossing_or_through_several(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new, versions.newest)
    first, second = s.crossed(s.old, s.new), s.crossed(s.new, s.newest)
    models = [s.old, s.new, s.newest]
    result = done(s, s.evaluate(models=models))
    rows = s.world.queries
    h, g = s.h(s.old, s.new), s.h(s.new, s.newest)
    expected: list[list[Any]] = [
        [own_rows(s, rows.old, rows.old), None, None],
        [own_rows(s, rows.new, h.apply(rows.old)), own_rows(s, rows.new, rows.new), None],
        [
            own_rows(s, rows.newest, g.apply(h.apply(rows.old))),
            own_rows(s, rows.newest, g.apply(rows.new)),
            own_rows(s, rows.newest, rows.newest),
        ],
    ]
    for measured, row in zip(result["matrices"]["cmc@1"], expected, strict=True):
        assert measured == [None if value is None else pytest.approx(value) for value in row]
    cell = next(one for one in result["cells"] if (one["queries"], one["gallery"]) == (s.newest, s.old))
    assert cell["measured"]["crossed"]["how"] == "composition"
    assert [hop["upgrade"] for hop in cell["measured"]["crossed"]["upgrades"]] == [first, second]
    assert cell["composition"] is None
    lower = [value for row in expected for value in row if value is not None]
    scores = result["scores"]["cmc@1"]
    assert scores["am"] == pytest.approx(np.mean(lower))
    wins = [expected[i][j] > expected[j][j] for i in range(3) for j in range(i)]
    assert (scores["ac"], scores["pairs_counted"]) == (pytest.approx(np.mean(wins)), 3)

    direct = s.crossed(s.old, s.newest)
    result = done(s, s.evaluate(models=models, metrics=["cmc@1"]))
    cell = next(one for one in result["cells"] if (one["queries"], one["gallery"]) == (s.newest, s.old))
    assert [hop["upgrade"] for hop in cell["measured"]["crossed"]["upgrades"]] == [direct]
    other = cell["composition"]
    assert [hop["upgrade"] for hop in other["measured"]["crossed"]["upgrades"]] == [first, second]
    assert figures(other["measured"])["cmc@1"] == pytest.approx(lower[3])
    (difference,) = other["against_direct"]["differences"]
    assert difference["before"]["mean"] == result["matrices"]["cmc@1"][2][0]
    assert difference["after"]["mean"] == pytest.approx(lower[3])


def test_a_cell_that_nothing_leads_to_is_null_and_says_what_would(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    result = done(s, s.evaluate(models=[s.old, s.new]))
    (cell,) = (one for one in result["cells"] if one["measured"] is None)
    assert (cell["queries"], cell["gallery"]) == (s.new, s.old)
    assert f"POST /models/{s.old}/upgrade" in cell["reason"]
    assert result["matrices"]["cmc@1"][1][0] is None
    scores = result["scores"]["cmc@1"]
    assert (scores["ac"], scores["pairs_counted"], scores["cells_counted"]) == (None, 0, 2)


def test_an_evaluation_that_was_cut_off_gives_the_same_when_done_again(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    s.crossed(s.old, s.new)
    request = {"queries": s.new, "gallery": s.old}
    whole = done(s, s.evaluate(**request))
    again = s.evaluate(**request)
    do_step(s.crosswalk, [STEP], cut_off=True)
    assert s.evaluation(again)["state"] == "running"
    assert done(s, again) == whole


def test_what_is_gone_by_the_time_is_a_reason(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    upgrade = s.crossed(s.old, s.new)
    evaluation = s.evaluate(queries=s.new, gallery=s.old)
    shutil.rmtree(s.crosswalk.settings.artifacts_dir / upgrade)
    assert upgrade in failed(s, evaluation)
    evaluation = s.evaluate(queries=s.new, gallery=s.new)
    assert s.client.delete(f"/datasets/{s.dataset}").is_success
    assert s.dataset in failed(s, evaluation)


def test_a_payload_field_that_is_no_value_to_slice_by_is_a_reason(versions: Versions) -> None:
    s = versions.with_rows(versions.old, versions.new)
    s.put_payload(s.world.queries, tags=[["a", "b"]] * len(s.world.queries))
    s.crossed(s.old, s.new)
    reason = failed(s, s.evaluate(queries=s.new, gallery_id=s.gallery, slices=["tags"]))
    assert "tags" in reason
    assert "list" in reason
    reason = failed(s, s.evaluate(queries=s.new, gallery_id=s.gallery, slices=["nothing-like-it"]))
    assert "'nothing-like-it'" in reason


def test_an_evaluation_that_is_deleted_while_it_runs_is_stopped(versions: Versions) -> None:
    s = versions.with_rows(versions.old)
    evaluation = s.evaluate(queries=s.old, gallery=s.old)

    def delete() -> None:
        assert s.client.delete(f"/evaluations/{evaluation}").status_code == 204

    do_step(s.crosswalk, [STEP], before=delete)
    assert s.client.get(f"/evaluations/{evaluation}").status_code == 404


def test_vectors_that_a_model_was_trained_to_search_are_zero_padded(settings: Settings) -> None:
    crosswalk = compose(settings)
    with serving(settings) as client:
        t = Training(client, crosswalk)
        upgrade = t.accepted()
        rng = np.random.default_rng(1)
        old, new = (rng.normal(size=(ITEMS, width)).astype(np.float32) for width in (OLD_DIMENSION, NEW_DIMENSION))
        labels = [f"class-{place % 4}" for place in range(ITEMS)]
        t.put_rows(
            [
                {"id": one, "label": label, "embeddings": {"old": mine.tolist(), "new": theirs.tolist()}}
                for one, label, mine, theirs in zip(t.ids, labels, old, new, strict=True)
            ]
        )
        evaluation = t.post("/evaluations", {"dataset": "photos", "queries": "new", "gallery": "old"}, 202)
        do_step(crosswalk, [STEP])
        result = client.get(f"/evaluations/{evaluation['id']}").json()["result"]
    crosswalk.close()
    crossed = result["search"]["crossed"]
    assert (crossed["how"], crossed["upgrades"][0]["upgrade"]) == ("compatible", upgrade)
    assert crossed["upgrades"][0]["method"] == "zero_padding"
    padded = np.pad(old, ((0, 0), (0, NEW_DIMENSION - OLD_DIMENSION)))
    expected = np.mean(first_right(new, padded, labels, t.ids, (labels, t.ids)))
    assert figures(result["search"])["cmc@1"] == pytest.approx(expected)
    assert result["unconstrained"]["model"] is None
    assert all(one["update_gain"] is None for one in result["comparison"]["differences"])
