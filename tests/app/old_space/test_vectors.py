"""Documents of a new model, pulled into an old space."""

from __future__ import annotations

import numpy as np

from app.old_space.vectors import Pull
from models.portable import Affine

OLD, NEW, DOCUMENTS = 6, 9, 4


def test_a_pulled_document_is_where_the_damped_distance_to_its_transformation_is_least() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(NEW, OLD)), rng.normal(size=NEW)
    new = rng.normal(size=(DOCUMENTS, NEW)).astype(np.float32)
    pull = Pull.of(Affine(weight.astype(np.float32), bias.astype(np.float32)))
    pulled = pull.documents(new, "l2", "l2").vectors
    damping = 1e-3 * sum(np.dot(column, column) for column in weight.T) / OLD
    for document, vector in zip(new.astype(np.float64), pulled.astype(np.float64), strict=True):
        slope = weight.T @ (weight @ vector + bias - document) + damping * vector
        np.testing.assert_allclose(slope, 0, atol=1e-4)
    unit = pull.documents(new, "cosine", "l2").vectors
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
