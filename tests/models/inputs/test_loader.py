"""Batches come as planned, the same from other processes as from this one."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.inputs import BadInput, Batch, Inputs, Loader, Preprocessing, learn_tokenizer
from tests.models.inputs.images import files

PLAN = [np.array(rows, np.int64) for rows in ([3, 1], [0], [4, 2, 5], [1, 3])]
TEXTS = ["a cat", "a dog sat on a mat", "the cat", "dogs", "on the mat", "cats sat"]
IMAGES = files(6, 8)


def run(loader: Loader, plan: list[NDArray[np.int64]] = PLAN, *, augment: bool = True, seed: int = 7) -> list[Batch]:
    return list(loader.batches(plan, augment=augment, seed=seed))


def assert_same(batches: list[Batch], expected: list[Batch]) -> None:
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.fixture(scope="module")
def processes() -> Iterator[Loader]:
    """Two processes that last for all tests, with one row that cannot be decoded."""
    with Loader([*IMAGES, b"broken"], Preprocessing.images(8), workers=2) as loader:
        yield loader


def test_batches_are_those_of_the_plan_in_its_order() -> None:
    with Loader(IMAGES, Preprocessing.images(8)) as loader:
        batches = run(loader)
    assert [batch.rows.tolist() for batch in batches] == [rows.tolist() for rows in PLAN]
    assert [tuple(batch.tensors["pixels"].shape) for batch in batches] == [(len(rows), 3, 8, 8) for rows in PLAN]
    assert all(batch.tensors["pixels"].dtype == torch.uint8 for batch in batches)
    assert torch.equal(batches[0].tensors["pixels"], batches[3].tensors["pixels"].flip(0))


def test_other_processes_prepare_the_same_batches_pass_after_pass(processes: Loader) -> None:
    with Loader(IMAGES, Preprocessing.images(8)) as here:
        for seed in (1, 2):
            assert_same(run(processes, seed=seed), run(here, seed=seed))
        assert_same(run(processes, augment=False), run(here, augment=False))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_row_that_cannot_be_prepared_is_named_and_the_next_pass_goes_on(workers: int, processes: Loader) -> None:
    with Loader([*IMAGES, b"broken"], Preprocessing.images(8)) as here:
        loader = processes if workers else here
        batches = loader.batches([*PLAN, np.array([5, 6])], augment=False, seed=0)
        for _ in PLAN:
            next(batches)
        with pytest.raises(BadInput, match="not an image") as refused:
            next(batches)
        assert refused.value.row == 6
        assert_same(run(loader), run(here))


def test_a_pass_may_be_left_half_way(processes: Loader) -> None:
    next(processes.batches(PLAN, augment=True, seed=1))
    with Loader(IMAGES, Preprocessing.images(8)) as here:
        assert_same(run(processes), run(here))


def test_an_empty_plan_is_an_empty_pass(processes: Loader) -> None:
    assert run(processes, []) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_texts_are_cut_and_padded_with_a_mask(workers: int) -> None:
    how = Preprocessing.texts(learn_tokenizer(TEXTS, 200), tokens=6)
    with Loader(TEXTS, how, workers) as loader:
        (batch,) = run(loader, [np.array([0, 1, 3])])
    ids, mask = batch.tensors["input_ids"], batch.tensors["attention_mask"]
    assert ids.dtype == mask.dtype == torch.int64
    assert mask.tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 1, 0, 0, 0]]
    assert (ids[mask == 0] == 0).all()  # [PAD]
    assert (ids[:, 0] == 2).all()  # [CLS]
    assert [row[length - 1] for row, length in zip(ids.tolist(), (4, 6, 3), strict=True)] == [3, 3, 3]  # [SEP]


@pytest.mark.parametrize("raw", [b"bytes", None])
def test_what_is_no_text_is_refused(raw: object) -> None:
    inputs: Inputs = ["a text", raw]  # type: ignore[assignment]
    how = Preprocessing.texts(learn_tokenizer(TEXTS, 200))
    with Loader(inputs, how) as loader, pytest.raises(BadInput, match="a text is expected") as refused:
        run(loader, [np.array([0, 1])])
    assert refused.value.row == 1
