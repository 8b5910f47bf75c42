"""The rows that a compatible model is trained on."""

from __future__ import annotations

from dataclasses import dataclass

from models.arrays import Codes, RowNumbers
from models.inputs import Inputs, InputSubset
from models.portable import Array


@dataclass(frozen=True)
class LabelledInputs:
    """Rows of raw input with their class and the old model's vector, which is all that is known of that model.

    inputs: n encoded images or texts; codes: (n,) int64 classes from 0; old: (n, d_old) float32.
    """

    inputs: Inputs
    codes: Codes
    old: Array

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.codes) == len(self.old):
            raise ValueError(f"{len(self.inputs)} inputs, {len(self.codes)} classes, {len(self.old)} old vectors")

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: RowNumbers) -> LabelledInputs:
        """The given rows, (k,) int64, in that order; the inputs are not copied."""
        return LabelledInputs(InputSubset(self.inputs, rows), self.codes[rows], self.old[rows])
