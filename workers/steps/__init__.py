"""The steps, and where each is done. Modules are named, not imported: only a step's own process loads it, and torch."""

from collections.abc import Mapping

STEPS: Mapping[str, str] = {
    "embed_pairs": "workers.steps.embed_pairs",
    "train": "workers.steps.train",
    "evaluate": "workers.steps.evaluate",
    "train_compatible": "workers.steps.train_compatible",
    "evaluate_compatible": "workers.steps.evaluate_compatible",
    "backfill": "workers.steps.backfill",
    "transform": "workers.steps.transform",
    "transform_part": "workers.steps.transform_part",
    "index": "workers.steps.index",
    "sample": "workers.steps.sample",
    "reindex": "workers.steps.reindex",
    "drop_target": "workers.steps.drop_target",
    "settle_store": "workers.steps.settle_store",
    "follow": "workers.steps.follow",
    "evaluate_models": "workers.steps.evaluate_models",
    "train_side_information": "workers.steps.train_side_information",
}
"""A step's name → its module, whose `run(context: StepContext) -> None` ends with `context.finish(apply)`."""
