"""The crossing of an upgrade is taken away as a file: what is in it, and why there is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from app.artifacts.folder import UpgradeArtifacts
from app.cli.command import commands
from app.cli.upgrades import upgrades
from app.composition import Crosswalk, compose
from app.keys.access import EVERYTHING
from app.settings import Settings
from app.upgrades.states import UpgradeState
from models.portable import (
    Affine,
    ScoreCurve,
    ScoreTranslation,
    ScoreTranslations,
    Transformation,
    load_crossing,
    parse_crossing,
    save_score_translations,
    save_transformation,
    save_uncertainty,
)
from tests.app.crossings import affine, space, uncertainty
from tests.e2e.user import problem
from tests.upgrade_rows import store_upgrade

OLD, NEW = space("old", 3, "cosine"), space("new", 4, "cosine")
METRIC = {"metric": "cmc@1", "old": {"estimate": 0.7}, "crossing": {"estimate": 0.9}}
PROOF: dict[str, Any] = {
    "accepted": True,
    "reason": "It is better.",
    "gate": "cmc@1 better than old",
    "served_as": "crossing",
    "provisional": False,
    "proved_at": "2026-01-02T00:00:00+00:00",
    "metrics": [METRIC],
    "advice": [],
    "strata": ["not of the card"],
}


@pytest.fixture
def crosswalk(client: httpx.Client, settings: Settings) -> Iterator[Crosswalk]:
    """The service's own parts, beside it."""
    crosswalk = compose(settings)
    yield crosswalk
    crosswalk.close()


def translations(h: Transformation) -> ScoreTranslations:
    at, value = np.array([0.0, 1.0]), np.array([0.2, 0.8])
    one = ScoreCurve(at, value, value - 0.1, value + 0.1, 0.05)
    return ScoreTranslations(h.card, {"transformed": ScoreTranslation(one, one)})


def learned(
    crosswalk: Crosswalk, upgrade: str, state: UpgradeState = UpgradeState.READY, proof: dict[str, Any] | None = None
) -> str:
    """An upgrade that learned a crossing, and proved it where there is a proof; its id."""
    files = UpgradeArtifacts(crosswalk.settings.artifacts_dir, upgrade)
    h = affine(OLD, NEW)
    save_transformation(h, files.chosen)
    save_transformation(h, files.plain)
    save_uncertainty(uncertainty(h), files.uncertainty)
    save_score_translations(translations(h), files.scores)
    proofs = {"shop": PROOF | (proof or {})}
    store_upgrade(crosswalk.database, upgrade, state, ["shop"], learned={}, proofs=proofs, reason="It is worse.")
    return f"/upgrades/{upgrade}/artifact"


def test_the_file_is_the_crossing_with_its_card(client: httpx.Client, crosswalk: Crosswalk, tmp_path: Path) -> None:
    answer = client.get(learned(crosswalk, "upg-1"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="old-to-new.safetensors"'
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    (tmp_path / "a.safetensors").write_bytes(answer.content)
    crossing, h = load_crossing(tmp_path / "a.safetensors"), affine(OLD, NEW)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(9, 3)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    transformed = crossing.apply(vectors, made_by="old")
    np.testing.assert_array_equal(transformed, h.apply(vectors))
    assert crossing.translate_score(0.5, made_by="old").value == pytest.approx(0.5)
    np.testing.assert_array_equal(crossing.push(queries, made_by="new").queries, h.push(queries).queries)
    np.testing.assert_array_equal(
        crossing.expected_error(vectors, transformed, made_by="old"),
        uncertainty(h).expected_error(vectors, None, transformed),
    )


def test_the_command_downloads_what_apply_takes_and_a_graph_that_computes_the_same(
    client: httpx.Client, crosswalk: Crosswalk, tmp_path: Path
) -> None:
    learned(crosswalk, "upg-1")
    artifact, source, out = (tmp_path / name for name in ("old-to-new.safetensors", "old.parquet", "new.parquet"))
    url = ["--url", str(client.base_url)]
    for command in (
        ["artifact", "upg-1", "-o", str(artifact), *url],
        ["artifact", "upg-1", "-o", str(tmp_path / "graph.onnx"), "--format", "onnx", *url],
    ):
        done = CliRunner().invoke(upgrades, command)
        assert done.exit_code == 0, done.output
    old = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    pq.write_table(pa.table({"embedding.old": old.tolist()}), source)
    done = CliRunner().invoke(commands, ["apply", str(artifact), str(source), str(out)])
    assert done.exit_code == 0, done.output
    written = np.array(pq.read_table(out).column("embedding.new").to_pylist(), np.float32)
    np.testing.assert_array_equal(written, affine(OLD, NEW).apply(old))
    graph = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    (computed,) = graph.run(["vectors.new"], {"vectors.old": old})
    np.testing.assert_allclose(computed, written, rtol=0, atol=1e-5 * np.abs(written).max())


def test_the_card_repeats_what_was_proved_and_which_way_it_leads(client: httpx.Client, crosswalk: Crosswalk) -> None:
    url = learned(crosswalk, "upg-1")
    answer = client.get(url, params={"format": "card"})
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["content-disposition"] == 'attachment; filename="old-to-new.card.json"'
    card = answer.json()
    assert (card["from"]["model"], card["to"]["model"], card["upgrade"]) == ("old", "new", "upg-1")
    assert card["from"]["dimension"] == 3
    assert card["to"]["metric"] == "cosine"
    assert card["pushing"].startswith("approximate: ")
    assert card["proof"] == {"shop": {key: PROOF[key] for key in PROOF if key not in ("advice", "strata")}}
    assert json.loads(parse_crossing(client.get(url).content).card.to_json()) == card


def test_the_card_of_a_dry_run_says_that_it_was_accepted_as_fused(client: httpx.Client, crosswalk: Crosswalk) -> None:
    """A dry run serves nothing, so that what it would be served as is in its proofs alone."""
    url = learned(crosswalk, "upg-1", UpgradeState.EVALUATED, {"served_as": "fused"})
    card = client.get(url, params={"format": "card"}).json()
    assert (card["served_as"], card["proof"]["shop"]["served_as"]) == ("fused", "fused")
    assert parse_crossing(client.get(url).content).card.served_as == "fused"


def test_a_graph_that_would_compute_something_else_is_a_problem_with_a_way_out(
    client: httpx.Client, crosswalk: Crosswalk
) -> None:
    url = learned(crosswalk, "upg-1")
    h = affine(OLD, NEW)
    assert h.affine is not None
    beyond = replace(h, affine=Affine(np.full_like(h.affine.weight, 3e38), h.affine.bias))
    save_transformation(beyond, UpgradeArtifacts(crosswalk.settings.artifacts_dir, "upg-1").chosen)
    answer = client.get(url, params={"format": "onnx"})
    assert problem(answer, 409, "wrong-state")["state"] == "ready"
    assert "format=safetensors" in answer.json()["detail"]
    assert client.get(url).status_code == 200


def test_an_interrupted_download_goes_on_where_it_stopped(client: httpx.Client, crosswalk: Crosswalk) -> None:
    url = learned(crosswalk, "upg-1")
    whole = client.get(url)
    resumed = {"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
    rest = client.get(url, headers=resumed)
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    crosswalk.upgrades.activate("upg-1", EVERYTHING)  # switching to it changes nothing of the file
    assert client.get(url).headers["etag"] == whole.headers["etag"]


def test_a_kept_file_that_was_damaged_is_made_anew(client: httpx.Client, crosswalk: Crosswalk) -> None:
    url = learned(crosswalk, "upg-1")
    whole = client.get(url).content
    (kept,) = (crosswalk.settings.downloads_dir / "upg-1").glob("[!.]*.safetensors")
    kept.write_bytes(whole[:-1])
    assert client.get(url).content == whole


def test_removing_the_upgrade_removes_the_files_that_were_made_of_it(
    client: httpx.Client, crosswalk: Crosswalk
) -> None:
    url = learned(crosswalk, "upg-1", UpgradeState.EVALUATED)
    assert client.get(url).status_code == 200
    assert client.delete("/upgrades/upg-1").status_code == 204
    assert not (crosswalk.settings.downloads_dir / "upg-1").exists()
    assert client.get(url).status_code == 404


def test_an_upgrade_without_a_crossing_to_take_away_says_why(client: httpx.Client, crosswalk: Crosswalk) -> None:
    def refused(url: str) -> str:
        answer = client.get(url)
        assert problem(answer, 409, "wrong-state")
        return str(answer.json()["detail"])

    assert client.get("/upgrades/unknown/artifact").status_code == 404
    assert "It is worse." in refused(learned(crosswalk, "upg-1", UpgradeState.REJECTED, {"accepted": False}))
    assert "does not accept the crossing on shop" in refused(
        learned(crosswalk, "upg-2", UpgradeState.EVALUATED, {"accepted": False})
    )
    store_upgrade(crosswalk.database, "upg-3", UpgradeState.EVALUATING, ["shop"], learned={})
    assert "still evaluating" in refused("/upgrades/upg-3/artifact")
    store_upgrade(crosswalk.database, "upg-4", UpgradeState.FAILED, ["shop"])
    assert "ended before a crossing was proved" in refused("/upgrades/upg-4/artifact")
    body = {"strategy": "compatible", "to": {"id": "new", "architecture": "small-resnet"}, "dataset": "d"}
    store_upgrade(crosswalk.database, "upg-5", UpgradeState.READY, ["shop"], request=body, learned={}, proofs={})
    assert "GET /models/new/artifact" in refused("/upgrades/upg-5/artifact")
    wrong = client.get("/upgrades/upg-1/artifact?format=pickle")
    assert problem(wrong, 422, "validation-error")["errors"]


def test_a_crossing_whose_weights_are_damaged_is_not_handed_out(client: httpx.Client, crosswalk: Crosswalk) -> None:
    url = learned(crosswalk, "upg-1")
    (weights,) = UpgradeArtifacts(crosswalk.settings.artifacts_dir, "upg-1").chosen.glob("weights-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4])
    assert problem(client.get(url), 500, "corrupt-artifact")
