"""A file of a crossing whose checksum is right, whoever wrote it, is refused or computes: nothing else comes of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.portable import (
    BeyondFloat32,
    CorruptArtifact,
    NotPushable,
    NotTranslated,
    PortableCrossing,
    parse_crossing,
)
from models.portable.tensor_file import tensor_bytes
from tests.models.portable.crossings_to_take import normal
from tests.models.portable.hostile_crossings import KINDS, UNSEALED, Arrays, opened, sealed, with_checksum


def used(content: bytes) -> None:
    """Does with a file all that can be done with one, and looks at what comes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            crossing = parse_crossing(content)
        except CorruptArtifact:
            return
        assert json.loads(crossing.card.to_json())["upgrade"].isprintable()
        try:
            compute(crossing)
        except (BeyondFloat32, NotPushable, NotTranslated):
            return


def compute(crossing: PortableCrossing) -> None:
    card, old = crossing.card, normal(1, 9, crossing.card.source.dimension)
    beside: tuple[Any, ...] = ()
    if card.side_dimension is not None:
        beside = (normal(2, 9, card.side_dimension), np.arange(9) % 3 > 0)
    transformed = crossing.apply(old, *beside, made_by=card.source.model)
    assert transformed.shape == (9, card.target.dimension)
    assert np.isfinite(transformed).all()
    assert crossing.apply(old, made_by=card.source.model).shape == transformed.shape
    errors = crossing.expected_error(old, transformed, *beside, made_by=card.source.model)
    assert errors.shape == (9,)
    assert not (errors < 0).any()
    assert crossing.translate_score([-0.3, 0.5], made_by=card.target.model).value.shape == (2,)
    pushed = crossing.push(normal(3, 4, card.target.dimension), made_by=card.target.model)
    assert pushed.queries.shape == (4, card.source.dimension)
    assert np.isfinite(pushed.queries).all()


def test_a_sound_file_that_was_sealed_anew_is_read() -> None:
    for kind in KINDS:
        compute(parse_crossing(sealed(*opened(kind))))


def without(name: str) -> Callable[[Any, Arrays], None]:
    def change(card: Any, arrays: Arrays) -> None:
        del arrays[name]

    return change


def replaced(name: str, array: NDArray[Any]) -> Callable[[Any, Arrays], None]:
    return lambda card, arrays: arrays.update({name: array})


def told(*path: str, value: object) -> Callable[[Any, Arrays], None]:
    """The card with something else said at a place."""

    def change(card: Any, arrays: Arrays) -> None:
        for key in path[:-1]:
            card = card[key]
        card[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("affine", without("chosen.affine.bias"), "there is no 'affine.bias'"),
        ("affine", without("scores.transformed.to_old.low"), "there is no"),
        ("affine", without("uncertainty.head.weight"), "there is no 'nearest.k'"),
        ("affine", replaced("chosen.affine.weight", np.zeros((5, 6))), r"\(5, 6\) float64, not \(5, 6\) float32"),
        ("affine", replaced("chosen.affine.weight", np.zeros((6, 5), np.float32)), r"\(6, 5\) float32, not \(5, 6\)"),
        ("affine", replaced("chosen.affine.bias", np.full(5, np.nan, np.float32)), "not finite"),
        ("affine", replaced("chosen.affine.bias", np.zeros((), np.float32)), r"weights are \(\) float32"),
        ("affine", replaced("chosen.lengths.slope", np.zeros(6, np.float32)), "there is no 'lengths.scalars'"),
        ("affine", replaced("chosen.extra", np.zeros(1)), "no part of a crossing reads: 'chosen.extra'"),
        ("affine", replaced("scores.transformed.to_new.error", np.array([np.nan])), "error is finite"),
        ("affine", replaced("scores.transformed.to_new.error", np.zeros(0)), "error of a curve is"),
        ("everything", replaced("chosen.kernel.centres", np.zeros((0, 9), np.float32)), "holds none"),
        ("everything", replaced("chosen.trunk.0.bias", np.zeros((), np.float32)), "do not fit the card"),
        ("everything", replaced("uncertainty.nearest.k", np.array([np.inf])), "number of nearest points"),
        ("everything", replaced("uncertainty.nearest.k", np.zeros(0, np.int64)), "number of nearest points"),
        ("everything", replaced("uncertainty.nearest.k", np.array([9])), "9 nearest of 8 points"),
        ("affine", told("parts", "uncertainty", "side_dimension", value=3), "reads? the side-information"),
        ("everything", told("parts", "plain", "side_dimension", value=3), "do not fit|without side-information"),
        ("affine", told("format", value=2), "format 2, and this release reads format 1"),
        ("affine", told("parts", "chosen", "format", value=7), "format 7"),
        ("affine", told("kind", value="photograph"), "'photograph'"),
        ("affine", told("upgrade", value=7), "upgrade is 7"),
        ("affine", told("upgrade", value="\x1b[2J"), "upgrade is"),
        ("affine", told("served_as", value="both"), "served_as"),
        ("affine", told("proof", value=None), "proof"),
        ("affine", told("parts", "chosen", "source", "dimension", value=6.0), "source dimension is 6.0"),
        ("affine", told("parts", "chosen", "source", "dimension", value=10**12), "other models than|do not fit"),
        ("affine", told("parts", "chosen", "source", "model", value=["old"]), "source model"),
        ("affine", told("parts", "chosen", "target", "metric", value="hamming"), "target metric is 'hamming'"),
        ("affine", told("to", "model", value="old"), "names other models"),
        ("affine", told("parts", "chosen", value=None), "no transformation"),
        ("affine", told("parts", value=[]), "unreadable"),
        ("affine", told("parts", "soul", value=None), "names a part 'soul'"),
    ],
)
def test_what_is_sealed_and_no_crossing_is_refused_with_what_is_wrong(
    kind: str, change: Callable[[Any, Arrays], None], why: str
) -> None:
    card, arrays = opened(kind)
    change(card, arrays)
    with pytest.raises(CorruptArtifact, match=why):
        parse_crossing(sealed(card, arrays))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unreadable"),
        ("no JSON", "unreadable"),
        ("[]", "no JSON object"),
        ('{"kind": "a", "kind": "b"}', "'kind' is named twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "unreadable"),
    ],
)
def test_a_card_that_is_none_is_refused(text: str, why: str) -> None:
    with pytest.raises(CorruptArtifact, match=why):
        parse_crossing(sealed(text, opened("affine")[1]))


def test_a_checksum_that_is_none_is_refused() -> None:
    card, arrays = opened("affine")
    for named in ("", "\ud800" * 64, "ü" * 64, "0" * 63):
        with pytest.raises(CorruptArtifact, match="checksum"):
            parse_crossing(tensor_bytes(arrays, {"sha256": named, "card": json.dumps(card)}))


def test_numbers_that_overflow_are_no_answer() -> None:
    card, arrays = opened("affine")
    for part in (
        card["parts"]["chosen"],
        card["parts"]["plain"],
        card["parts"]["uncertainty"],
        card["parts"]["scores"],
    ):
        part["target"]["metric"] = "l2"
    card["to"]["metric"] = "l2"
    arrays["chosen.affine.weight"] = np.full((5, 6), 3e38, np.float32)
    crossing = parse_crossing(sealed(card, arrays))
    with pytest.raises(BeyondFloat32, match="9 rows beyond what float32 holds, the first is row 0"):
        crossing.apply(np.ones((9, 6), np.float32), made_by="old")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["cosine", 10**9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_card_says_it_is_refused_or_the_crossing_computes(data: st.DataObject) -> None:
    card, arrays = opened(data.draw(st.sampled_from(KINDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(card)[1:]))
        holder: Any = card
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[path[-1]] = data.draw(JSON)
        else:
            del holder[path[-1]]
    used(sealed(card, arrays))


NUMBERS = [0.0, -1.0, 1.0, 1e-45, 1e-38, 3e38, -3e38, np.nan, np.inf]
DTYPES = ["f2", "f4", "f8", "i8", "u1", "?"]


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_arrays_hold_the_file_is_refused_or_the_crossing_computes(data: st.DataObject) -> None:
    card, arrays = opened(data.draw(st.sampled_from(KINDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(arrays)))
        array = arrays[name]
        match data.draw(st.sampled_from(["drop", "rename", "shape", "dtype", "number", "other", "all"])):
            case "drop":
                del arrays[name]
            case "rename":
                arrays[data.draw(st.sampled_from([*sorted(arrays), "chosen.affine.side_weight"]))] = arrays.pop(name)
            case "shape":
                shape = data.draw(st.lists(st.integers(0, 9), max_size=3))
                arrays[name] = np.resize(array, shape)
            case "dtype":
                with np.errstate(all="ignore"):
                    arrays[name] = array.astype(data.draw(st.sampled_from(DTYPES)))
            case "number" if array.size and array.dtype.kind == "f":
                arrays[name] = array.copy()
                arrays[name].flat[data.draw(st.integers(0, array.size - 1))] = data.draw(st.sampled_from(NUMBERS))
            case "all" if array.dtype.kind == "f":
                arrays[name] = np.full_like(array, data.draw(st.sampled_from(NUMBERS)))
            case _:
                arrays[name] = arrays[data.draw(st.sampled_from(sorted(arrays)))]
    used(sealed(card, arrays))


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_header_declares_the_file_is_refused_or_the_crossing_computes(data: st.DataObject) -> None:
    content = tensor_bytes(opened("affine")[1], {"sha256": UNSEALED, "card": json.dumps(opened("affine")[0])})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    entry = header[data.draw(st.sampled_from(sorted(header)[1:]))]
    counts = st.integers(-1, 9) | st.sampled_from([2**31, 2**62, 2**63, 10**30, 10**4000])
    match data.draw(st.sampled_from(["shape", "data_offsets", "dtype"])):
        case "shape":
            entry["shape"] = data.draw(st.lists(counts, max_size=70))
        case "data_offsets":
            entry["data_offsets"] = data.draw(st.lists(counts, min_size=1, max_size=3))
        case _:
            entry["dtype"] = data.draw(JSON)
    text = json.dumps(header).encode()
    length = data.draw(st.sampled_from([len(text), len(text) - 1, 0, 2**40, 2**64 - 1]))
    used(with_checksum(length.to_bytes(8, "little") + text + content[end:]))


@given(st.binary(max_size=400))
@example(b"\xff" * 8)
@example((2).to_bytes(8, "little") + b"{}")
def test_whatever_bytes_a_file_holds_it_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptArtifact):
        parse_crossing(content)
