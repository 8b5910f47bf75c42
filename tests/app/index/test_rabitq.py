"""Lists of bits: small, and of use to the distances that they were made for."""

from pathlib import Path

import numpy as np
import pytest

from app.index import IndexOptions, Snapshot, publish
from models.portable import Distance

ROWS, DIMENSION = 3_000, 96


def published(folder: Path, metric: Distance) -> Snapshot:
    """A tight mixture in few dimensions, as embeddings have few, whose rows differ in length."""
    random = np.random.default_rng(4)
    hidden = random.standard_normal((30, 8))[random.integers(30, size=ROWS)] + 0.5 * random.standard_normal((ROWS, 8))
    vectors = (hidden @ random.standard_normal((8, DIMENSION))).astype(np.float32)
    options = IndexOptions(kind="ivf_rabitq", nlist=50)
    batches = [(np.arange(ROWS), vectors)]
    return Snapshot.load(publish(folder, batches, metric=metric, dimension=DIMENSION, version=1, options=options))


def test_lists_take_a_bit_for_each_component_padded_to_a_power_of_two_and_sixteen_bytes(tmp_path: Path) -> None:
    snapshot = published(tmp_path, "cosine")
    centroids, some = 50 * 128 * 4, 4_096
    lists = ROWS * (128 // 8 + 8 + 8)
    assert lists < snapshot.manifest.files["index.faiss"].bytes < lists + centroids + some
    assert snapshot.manifest.recall >= 0.99


@pytest.mark.parametrize(
    ("metric", "score", "by_lists"),
    [
        ("cosine", "cosine", True),
        ("cosine", "ip", True),
        ("cosine", "l2", True),
        ("ip", "ip", True),
        ("ip", "l2", False),
        ("l2", "l2", True),
        ("l2", "ip", False),
    ],
)
def test_a_distance_that_the_bits_were_not_made_for_is_compared_with_every_row(
    metric: Distance, score: Distance, by_lists: bool, tmp_path: Path
) -> None:
    approximate = published(tmp_path, metric).approximate
    assert approximate is not None
    assert (approximate.propose(score, 8, ROWS) is not None) == by_lists
