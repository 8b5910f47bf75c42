"""Judges what is written: whether the vectors of a bulk body are of the model that the request names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import structlog

from app.problems import NotFound, WrongSpace
from app.registry.service import Models
from app.settings import Settings
from app.spaces.even_sample import EvenSample
from app.spaces.kept_models import KeptModels, sketched
from app.spaces.sketches import SketchedModel, Sketches
from app.storage.commits import CommitWatch
from app.storage.lance_table import vectors_of
from app.uploads import UploadedRows
from models.portable import ROWS_LOOKED_AT, ROWS_TO_JUDGE, SpaceJudgement, SpaceSignature, SpaceSketch

log = structlog.get_logger(__name__)

SpaceCheck = Literal["checked", "unchecked"]
"""Whether a request asks for its vectors to be judged."""


@dataclass(frozen=True)
class Inspected:
    """What was seen of a body before it was written: sketches to learn from, by model, what to tell the user, and, by
    model, vectors (n, d) that were too few to be judged by themselves."""

    seen: Mapping[str, SpaceSketch] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    few: Mapping[str, np.ndarray] = field(default_factory=dict)


class SpaceGuard:
    """Knows each model by its vectors, and tells when others are passed off as its own."""

    def __init__(self, settings: Settings, models: Models, sketches: Sketches, commits: CommitWatch) -> None:
        self._setting = settings.space_guard
        self._models = models
        self._kept = KeptModels(models, commits)
        self._sketches = sketches

    def inspect(self, rows: UploadedRows, columns: Mapping[str, str], check: SpaceCheck, *, trusted: bool) -> Inspected:
        """Judges the vectors of validated rows; `columns`: the column of each model.

        trusted: whether the sender may teach what a model's vectors look like, by which those of everybody else are
        judged. Raises WrongSpace where they are another model's beyond doubt and are to be refused. Vectors that are
        only warned of, or were not to be judged, are not learned from; nor, once there is a signature to judge by, are
        too few for a judgement.
        """
        if self._setting == "off":
            return Inspected()
        seen: dict[str, SpaceSketch] = {}
        warnings: list[str] = []
        few: dict[str, np.ndarray] = {}
        for model, column in columns.items():
            known = self.known(model)
            sketch, sample = self._read(known, rows, column)
            if check == "unchecked":
                continue
            signature = self._sketches.signature(known)
            judgement = None if signature is None else signature.judge(sample, self.others(known))
            if judgement is None:
                if len(sample) < ROWS_TO_JUDGE:
                    few[model] = sample
                if trusted and signature is None:
                    seen[model] = sketch
                continue
            if judgement.foreign:
                if self._setting == "refuse":
                    self._refuse(model, judgement)
                warnings.append(explain(model, judgement))
                log.warning("vectors of another model stored", model=model, likely=judgement.likely)
                continue
            if judgement.scaled:
                warnings.append(
                    f"The vectors are of other lengths than those of {model!r} stored before: perhaps they are "
                    "normalised where those are not, or the other way round."
                )
            if trusted:
                seen[model] = sketch
        return Inspected(seen, tuple(warnings), few)

    def judge(self, model: str, vectors: np.ndarray) -> SpaceJudgement | None:
        """What the model's signature says of vectors (n, d) that are said to be its own; None for too little."""
        own, *others = self._kept.of_dimension_of(model)
        signature = self._sketches.signature(own)
        return None if signature is None else signature.judge(vectors, self._signatures(others))

    def signature(self, model: str) -> SpaceSignature | None:
        """What is characteristic of a model's vectors; None where too few are known. Raises NotFound."""
        return self._sketches.signature(self.known(model))

    def others(self, model: SketchedModel) -> dict[str, SpaceSignature]:
        """The signatures of the other models of the same dimension, as far as they are known."""
        of_dimension = map(sketched, self._models.of_dimension(model.dimension))
        return self._signatures(other for other in of_dimension if other.id != model.id)

    def _signatures(self, models: Iterable[SketchedModel]) -> dict[str, SpaceSignature]:
        found = ((model.id, self._sketches.signature(model)) for model in models)
        return {model: signature for model, signature in found if signature is not None}

    def learn(self, inspected: Inspected) -> None:
        """Adds what was written to what is known. For the background: it may take seconds."""
        for model, seen in inspected.seen.items():
            try:
                self._sketches.learn(self.known(model), seen)
            except NotFound:
                log.info("model removed before its vectors were learned", model=model)

    def forget(self, model: SketchedModel) -> None:
        """Once a model is removed."""
        self._sketches.forget(model)

    def known(self, model: str) -> SketchedModel:
        """Raises NotFound."""
        return sketched(self._models.get(model))

    def _read(self, model: SketchedModel, rows: UploadedRows, column: str) -> tuple[SpaceSketch, np.ndarray]:
        """The sketch of a column's vectors, and up to about ROWS_LOOKED_AT of them, evenly from first to last."""
        known = self._sketches.find(model)
        below = None if known is None else known.below
        sketch, sample = SpaceSketch.empty(model.dimension), EvenSample(rows.count, ROWS_LOOKED_AT)
        for batch in rows.batches():
            _, vectors = vectors_of(batch.column(column))
            sketch = sketch.merged(SpaceSketch.of(vectors, below))
            sample.add(vectors)
        return sketch, sample.vectors(model.dimension)

    def _refuse(self, model: str, judgement: SpaceJudgement) -> None:
        log.warning("vectors of another model refused", model=model, likely=judgement.likely)
        what = (
            f"Send them with the id of {judgement.likely!r}"
            if judgement.likely
            else "Register the model that made them"
        )
        raise WrongSpace(
            f"{explain(model, judgement)} Nothing was stored. {what}; or, if they really are of {model!r}, repeat the "
            "request with space=unchecked: it is stored, and what the model's vectors look like stays as it was.",
            model=model,
            likely_model=judgement.likely,
            position=round(judgement.position, 2),
            rows_judged=judgement.rows,
        )


def explain(model: str, judgement: SpaceJudgement) -> str:
    """The finding in plain words."""
    said = f"The vectors said to be of {model!r} do not look like its own: on a scale on which 0 is how the vectors "
    said += f"stored of {model!r} look, and 1 how vectors look that have nothing to do with it, "
    said += f"{judgement.rows} of them lie at {judgement.position:.2f}."
    if judgement.likely is not None and judgement.nearest is not None:
        said += f" On the scale of {judgement.likely!r} they lie at {judgement.nearest:.2f}: they are probably that "
        said += "model's."
    return said
