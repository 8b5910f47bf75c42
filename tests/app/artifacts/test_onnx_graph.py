"""A crossing as an ONNX graph computes what it does in numpy, and says which way it leads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from app.artifacts.onnx_graph import HAS_SIDE, SIDE, GraphDiffers, check_graph, onnx_bytes
from models.portable import Affine, Crossing, Distance
from tests.models.portable.crossings_to_take import NEW, OLD, crossings, normal, rows, taken


def computed(content: bytes, crossing: Crossing, n: int) -> tuple[Any, Any]:
    """What ONNX Runtime and numpy make of the same rows."""
    old, side, known = rows(crossing, n)
    fed = {"vectors.old": old} | ({} if side is None else {SIDE: side, HAS_SIDE: known})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["vectors.new"], fed)[0], crossing.apply(old, side, known)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("kind", ["affine", "one-branch", "everything", "stand-in"])
def test_the_graph_computes_what_numpy_does(kind: str, metric: Distance) -> None:
    crossing = crossings(metric)[kind]
    content = onnx_bytes(crossing, taken(crossing).card)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    for n in (1, 7, 40):
        found, expected = computed(content, crossing, max(n, 4))
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_rows_of_any_length_become_unit_rows_and_zeros_stay_zeros() -> None:
    crossing = crossings("cosine")["affine"]
    linear = crossing.chosen.affine
    assert linear is not None
    turned = replace(crossing.chosen, affine=Affine(linear.weight, np.zeros(NEW, np.float32)))
    crossing = Crossing(turned, turned)
    content = onnx_bytes(crossing, taken(crossing).card)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    one = normal(50, 1, OLD)
    old = np.concatenate([one * np.float32(size) for size in (1e-25, 1.0, 1e25, 0.0)])
    (found,) = session.run(None, {"vectors.old": old})
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], found[[1, 1]], atol=1e-6)


def test_the_graph_names_both_models_and_carries_the_card() -> None:
    crossing = crossings("cosine")["everything"]
    model = onnx.load_from_string(onnx_bytes(crossing, taken(crossing).card))
    assert [value.name for value in model.graph.input] == ["vectors.old", SIDE, HAS_SIDE]
    assert [value.name for value in model.graph.output] == ["vectors.new"]
    assert {prop.key: prop.value for prop in model.metadata_props} == {"crosswalk.card": taken(crossing).card.to_json()}


def test_a_graph_that_computes_something_else_is_recognised() -> None:
    crossing, other = crossings("cosine")["affine"], crossings("l2")["affine"]
    content = onnx_bytes(crossing, taken(crossing).card)
    with pytest.raises(GraphDiffers, match="differs by"):
        check_graph(content, other, taken(other).card)
