"""Writes the crossing of an upgrade as an ONNX graph, node by node from its arrays, and checks what it computes.

Input and output are named after the two models, so that whoever runs the graph says which way: `vectors.<old>`
(n, d_old) → `vectors.<new>` (n, d_new), float32. A crossing that reads side-information has two inputs besides:
`side_information` (n, d_side) float32, and `has_side_information` (n,) bool. onnx and onnxruntime are imported where
they are used: few ask for a graph, and a gateway that starts does not wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.portable import Affine, Array, Crossing, CrossingCard, Dense, Distance, Kernel, Network, Transformation

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

LARGEST_DIFFERENCE = 1e-5
"""Of the graph's output from numpy's, as a share of the largest component."""

SIDE, HAS_SIDE = "side_information", "has_side_information"
_OPSET, _IR_VERSION = 17, 8  # what ONNX Runtime has read since 1.12
_CHECKED_ROWS = 64


class GraphDiffers(RuntimeError):
    """The graph does not compute what the crossing does."""


def vectors_of(model: str) -> str:
    """What a graph calls the vectors of a model."""
    return f"vectors.{model}"


def onnx_bytes(crossing: Crossing, card: CrossingCard) -> bytes:
    """The crossing as an ONNX file, with its card under `crosswalk.card`. Raises GraphDiffers where ONNX Runtime
    computes anything else from it than `Crossing.apply` does."""
    from onnx import TensorProto, helper

    graph = _Graph()
    source, target = vectors_of(card.source.model), vectors_of(card.target.model)
    side = None if card.side_dimension is None else SIDE
    output = graph.crossing(crossing, source, side)
    graph.add("Identity", [output], output=target)
    inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["rows", card.source.dimension])]
    if side is not None:
        inputs += [
            helper.make_tensor_value_info(SIDE, TensorProto.FLOAT, ["rows", card.side_dimension]),
            helper.make_tensor_value_info(HAS_SIDE, TensorProto.BOOL, ["rows"]),
        ]
    outputs = [helper.make_tensor_value_info(target, TensorProto.FLOAT, ["rows", card.target.dimension])]
    made = helper.make_graph(graph.nodes, "crossing", inputs, outputs, graph.constants)
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="crosswalk",
        doc_string=f"Leads from vectors of {card.source} to vectors of {card.target}; there is no way back.",
    )
    helper.set_model_props(model, {"crosswalk.card": card.to_json()})
    content: bytes = model.SerializeToString()
    check_graph(content, crossing, card)
    return content


class _Graph:
    """Nodes and constants as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """One node; returns the name of its output."""
        from onnx import helper

        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def crossing(self, crossing: Crossing, vectors: str, side: str | None) -> str:
        """As `Crossing.apply`: rows without side-information get what stands in for it, or are transformed without."""
        chosen = crossing.chosen
        if side is None:
            return self.transformation(chosen, vectors, None)
        known = self.add("Unsqueeze", [HAS_SIDE, self.constant(np.array([1]))])
        if chosen.stand_in is not None:
            inputs = self.as_indexed(vectors, chosen.card.source.metric)
            predicted = self.affine(chosen.stand_in, inputs, None)
            return self.transformation(chosen, vectors, self.add("Where", [known, side, predicted]))
        outputs = [self.transformation(chosen, vectors, side), self.transformation(crossing.plain, vectors, None)]
        return self.add("Where", [known, *outputs])

    def transformation(self, h: Transformation, vectors: str, side: str | None) -> str:
        inputs = self.as_indexed(vectors, h.card.source.metric)
        terms = []
        if h.affine is not None:
            terms.append(self.affine(h.affine, inputs, side))
        if h.network is not None:
            terms.append(self.network(h.network, inputs, side))
        if h.kernel is not None:
            terms.append(self.kernel(h.kernel, inputs, side))
        total = terms[0]
        for term in terms[1:]:
            total = self.add("Add", [total, term])
        return self.as_indexed(total, h.card.target.metric)

    def as_indexed(self, vectors: str, metric: Distance) -> str:
        """Unit rows for cosine; rows of zeros stay so. Each is divided by its largest component first, so that no
        square is beyond float32."""
        if metric != "cosine":
            return vectors
        largest = self.add("ReduceMax", [self.add("Abs", [vectors])], axes=[1], keepdims=1)
        scaled = self.add("Div", [vectors, self.add("Where", [self.positive(largest), largest, self.number(1.0)])])
        length = self.add("ReduceL2", [scaled], axes=[1], keepdims=1)
        return self.add("Div", [scaled, self.add("Where", [self.positive(length), length, self.number(1.0)])])

    def positive(self, value: str) -> str:
        return self.add("Greater", [value, self.number(0.0)])

    def affine(self, affine: Affine, inputs: str, side: str | None) -> str:
        outputs = self.dense(Dense(affine.weight, affine.bias), inputs)
        if affine.side_weight is None or side is None:
            return outputs
        beside = self.add("MatMul", [side, self.constant(affine.side_weight.T)])
        return self.add("Add", [outputs, beside])

    def dense(self, layer: Dense, inputs: str) -> str:
        return self.add("Gemm", [inputs, self.constant(layer.weight), self.constant(layer.bias)], transB=1)

    def network(self, network: Network, inputs: str, side: str | None) -> str:
        branches = [self.rectified(network.old, inputs)]
        if side is not None or network.side:
            branches.append(self.rectified(network.side, side or inputs))
        together = branches[0] if len(branches) == 1 else self.add("Concat", branches, axis=1)
        *hidden, last = network.trunk
        return self.dense(last, self.rectified(tuple(hidden), together))

    def rectified(self, layers: tuple[Dense, ...], inputs: str) -> str:
        for layer in layers:
            inputs = self.add("Relu", [self.dense(layer, inputs)])
        return inputs

    def kernel(self, kernel: Kernel, inputs: str, side: str | None) -> str:
        """Distances about the centres' mean, and in double precision: far from 0, squares would drown them."""
        rows = self.add("Mul", [inputs, self.constant(kernel.scales[:1])])
        if side is not None:
            rows = self.add("Concat", [rows, self.add("Mul", [side, self.constant(kernel.scales[1:])])], axis=1)
        middle = kernel.centres.mean(axis=0, dtype=np.float64)
        centres = kernel.centres.astype(np.float64) - middle
        double = self.add("Sub", [self.add("Cast", [rows], to=_double()), self.constant(middle)])
        products = self.add("MatMul", [double, self.constant(2 * centres.T)])
        squares = self.add("ReduceSumSquare", [double], axes=[1], keepdims=1)
        exponents = self.add("Sub", [products, squares])
        exponents = self.add("Sub", [exponents, self.constant(np.square(centres).sum(axis=1))])
        exponents = self.add("Min", [exponents, self.constant(np.array(0.0))])
        values = self.add("Cast", [self.add("Exp", [exponents])], to=_single())
        return self.add("MatMul", [values, self.constant(kernel.coefficients)])


def _double() -> int:
    from onnx import TensorProto

    return int(TensorProto.DOUBLE)


def _single() -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT)


def check_graph(content: bytes, crossing: Crossing, card: CrossingCard) -> None:
    """Runs a graph on rows as long as embeddings are, a row of zeros among them. Raises GraphDiffers where it computes
    anything else than the crossing."""
    import onnxruntime

    draw = np.random.default_rng(0)
    rows = _drawn(draw, card.source.dimension)
    rows[0] = 0
    fed: dict[str, NDArray[Any]] = {vectors_of(card.source.model): rows}
    side, known = None, np.zeros(len(rows), bool)
    if card.side_dimension is not None:
        side, known = _drawn(draw, card.side_dimension), draw.random(len(rows)) < 0.5
        fed |= {SIDE: side, HAS_SIDE: known}
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (computed,) = session.run(None, fed)
    with np.errstate(over="ignore", invalid="ignore"):  # NaN differs from everything
        expected = crossing.apply(rows, side, known)
        difference = float(np.abs(computed - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not difference <= LARGEST_DIFFERENCE:
        raise GraphDiffers(f"differs by {difference:.1e} of the largest component")


def _drawn(draw: np.random.Generator, dimension: int) -> Array:
    """Rows about as long as embeddings are: of length one, and some of other lengths."""
    rows = draw.standard_normal((_CHECKED_ROWS, dimension)) / np.sqrt(dimension)
    return np.asarray(rows * draw.choice([0.1, 1.0, 10.0], (_CHECKED_ROWS, 1)), np.float32)
