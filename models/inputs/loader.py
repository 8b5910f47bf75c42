"""Prepares batches ahead in worker processes: PyTorch's DataLoader with a plan of batches instead of a sampler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.inputs.preparing import BadInput, prepare_batch
from models.inputs.preprocessing import Preprocessing, Views
from models.inputs.subset import Inputs

_AHEAD = 4


@dataclass(frozen=True)
class Batch:
    """A prepared batch. rows: (b,) int64 of the inputs; tensors: as the embedder reads them, with all rows' first view,
    then all rows' second view and so on where there are several."""

    rows: NDArray[np.int64]
    tensors: dict[str, Tensor]


_Job = tuple[NDArray[np.int64], bool | Views, int]


class Loader:
    """Prepares batches of `inputs` in `workers` processes (0: in this one), which live until `close`."""

    def __init__(self, inputs: Inputs, preprocessing: Preprocessing, workers: int = 0) -> None:
        self._plan = _Plan()
        options: dict[str, Any] = {}
        if workers:
            options = {
                "multiprocessing_context": "spawn",  # threads of this process must not be copied half-way
                "persistent_workers": True,
                "prefetch_factor": _AHEAD,
            }
        self._loader = DataLoader(
            _Rows(inputs, preprocessing),
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        if (iterator := self._loader._iterator) is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._loader._iterator = None

    def batches(self, plan: Sequence[NDArray[np.int64]], *, augment: bool | Views, seed: int) -> Iterator[Batch]:
        """Prepares the batches of a plan, in order; plan: (b,) rows each. Raises BadInput for a row that cannot be
        prepared."""
        self._plan.jobs = [(rows, augment, seed) for rows in plan]
        for rows, tensors in self._loader:
            if isinstance(tensors, BadInput):
                raise tensors
            yield Batch(rows.numpy(), tensors)


class _Plan:
    """The sampler that DataLoader is given: it yields the jobs of the next pass."""

    jobs: Sequence[_Job] = ()

    def __iter__(self) -> Iterator[_Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


class _Rows(Dataset[Any]):
    """The data set that DataLoader is given: it prepares the batch of a job, and returns BadInput instead of raising
    it."""

    def __init__(self, inputs: Inputs, preprocessing: Preprocessing) -> None:
        self._inputs, self._preprocessing = inputs, preprocessing

    def __getitem__(self, job: _Job) -> tuple[Tensor, dict[str, Tensor] | BadInput]:
        rows, augment, seed = job
        try:
            prepared: dict[str, Tensor] | BadInput = prepare_batch(
                self._inputs, rows, self._preprocessing, augment=augment, seed=seed
            )
        except BadInput as error:  # as a value: DataLoader would raise another error in its place
            prepared = error
        return torch.from_numpy(rows), prepared
