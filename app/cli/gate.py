"""The gate as commands take it: what judges, and what must be reached, an option each."""

import math
from typing import Annotated, Any

import typer

GateMetric = Annotated[
    str, typer.Option(help="Judged by: cmc@1, cmc@5, map or recall@10; or, of judged queries, ndcg@10 and such.")
]
Require = Annotated[
    str, typer.Option(help="What it must reach: better_than_old, not_worse_than_old, or a share such as 0.85.")
]
METRIC, REQUIREMENT = "cmc@1", "better_than_old"
"""What they are where they are left out."""


def gate_body(metric: str, require: str) -> dict[str, Any]:
    """The gate as `POST /models/{id}/upgrade` takes it, which says what is wrong with it."""
    try:
        share = float(require)
    except ValueError:
        share = math.nan
    return {"metric": metric, "require": {"at_least": share} if math.isfinite(share) else require}
