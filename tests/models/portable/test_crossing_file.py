"""A crossing in one file computes what it did, leads one way, and is refused where any bit of it is another."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from models.portable import (
    CorruptArtifact,
    Distance,
    NotPushable,
    WrongDirection,
    check_crossing,
    crossing_bytes,
    load_crossing,
    parse_crossing,
)
from tests.models.portable.crossings_to_take import NEW, OLD, SIDE, crossings, normal, rows, taken


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("kind", ["affine", "one-branch", "everything", "stand-in"])
def test_a_crossing_that_was_taken_away_computes_the_same_to_the_bit(
    tmp_path: Path, kind: str, metric: Distance
) -> None:
    crossing = crossings(metric)[kind]
    (tmp_path / "a.safetensors").write_bytes(crossing_bytes(taken(crossing)))
    back = load_crossing(tmp_path / "a.safetensors")
    old, side, known = rows(crossing)
    transformed = back.apply(old, side, known, made_by="old")
    np.testing.assert_array_equal(transformed, crossing.apply(old, side, known))
    np.testing.assert_array_equal(
        back.expected_error(old, transformed, side, known, made_by="old"),
        crossing.expected_error(old, side, known, transformed),
    )
    queries = normal(40, 7, NEW)
    pushed, expected = back.push(queries, made_by="new"), crossing.plain.push(queries)
    np.testing.assert_array_equal(pushed.queries, expected.queries)
    np.testing.assert_array_equal(pushed.offset, expected.offset)
    assert check_crossing(tmp_path / "a.safetensors") == back.card == taken(crossing).card


def test_the_file_is_safetensors_and_holds_what_is_the_same_once() -> None:
    content = crossing_bytes(taken(crossings("cosine")["affine"]))
    names = load(content).keys()
    assert {name.split(".")[0] for name in names} == {"chosen", "uncertainty"}
    assert "plain.affine.weight" in load(crossing_bytes(taken(crossings("cosine")["one-branch"])))
    assert crossing_bytes(taken(crossings("cosine")["affine"])) == content


def test_it_is_refused_the_wrong_way_round_and_for_every_other_model() -> None:
    crossing = taken(crossings("cosine")["affine"])
    with pytest.raises(WrongDirection, match="leads to that model"):
        crossing.apply(normal(1, 2, OLD), made_by="new")
    with pytest.raises(WrongDirection, match="'old', not 'other'"):
        crossing.apply(normal(1, 2, OLD), made_by="other")
    with pytest.raises(WrongDirection, match="as they are"):
        crossing.push(normal(1, 2, NEW), made_by="old")
    with pytest.raises(TypeError, match="made_by"):
        crossing.apply(normal(1, 2, OLD))  # type: ignore[call-arg]


def test_rows_that_are_no_vectors_of_the_model_are_refused() -> None:
    crossing, side = taken(crossings("l2")["affine"]), taken(crossings("l2")["everything"])
    with pytest.raises(ValueError, match=rf"\(n, {OLD}\)"):
        crossing.apply(normal(1, 2, OLD + 1), made_by="old")
    broken = normal(1, 9, OLD)
    broken[[2, 5], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of .* rows 2, 5"):
        crossing.apply(broken, made_by="old")
    with pytest.raises(ValueError, match="not expected"):
        crossing.apply(normal(1, 2, OLD), normal(1, 2, SIDE), made_by="old")
    with pytest.raises(ValueError, match="3 rows of side-information"):
        side.apply(normal(1, 2, OLD), normal(1, 3, SIDE), made_by="old")


def test_a_crossing_whose_plain_part_is_not_linear_is_not_pushed() -> None:
    network = crossings("cosine")["one-branch"].chosen
    crossing = crossings("cosine")["affine"].__class__(network, network)
    with pytest.raises(NotPushable, match="not linear"):
        taken(crossing).push(normal(1, 2, NEW), made_by="new")


def test_every_changed_byte_is_noticed() -> None:
    content = crossing_bytes(taken(crossings("cosine")["affine"]))
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(CorruptArtifact):
            parse_crossing(bytes(changed))
    for end in (0, 7, 100, len(content) - 1):
        with pytest.raises(CorruptArtifact):
            parse_crossing(content[:end])
    with pytest.raises(CorruptArtifact):
        parse_crossing(content + b"\0")


def test_the_card_says_which_way_it_leads_and_what_was_proved() -> None:
    said = json.loads(taken(crossings("cosine")["everything"]).card.to_json())
    assert said["from"] == {"model": "old", "dimension": OLD, "metric": "cosine"}
    assert said["to"] == {"model": "new", "dimension": NEW, "metric": "cosine"}
    assert said["direction"].startswith("Vectors of old become vectors of new; there is no way back.")
    assert (said["upgrade"], said["method"], said["side_dimension"]) == ("upg-1", "fct", SIDE)
    assert said["proof"]["shop"]["proved_at"] == "2026-01-02T00:00:00+00:00"
